"""Predictions when what accepts and runs them is killed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import chaos
from benchmarks.postgresql import programs
from tests.effort import only_in_full
from tests.integration.server import Server, serving, wait_until

LONG = {"prompt": "a red apple", "num_inference_steps": 100, "num_images": 2, "seed": 5}
SHORT = {"prompt": "a red apple", "num_inference_steps": 4, "seed": 5}


@only_in_full
@pytest.mark.parametrize("postgresql", [False, True], ids=["sqlite", "postgresql"])
def test_nothing_is_lost_when_it_is_killed(postgresql: bool) -> None:
    if postgresql and programs() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    plan = chaos.Plan(
        "local", 16, kills=2, pause=(1.0, 4.0), interval=0.2, postgresql=postgresql, outage=2.0
    )
    outcome = chaos.run(plan)
    assert outcome.kills == ({"all": 1, "postgresql": 1} if postgresql else {"all": 2})
    assert outcome.right, outcome.table()


@only_in_full
def test_what_was_accepted_is_run_after_a_kill(tmp_path: Path) -> None:
    """With several pictures, and known to those who order it again."""
    with serving(tmp_path, host="local", SD_INVARIANT="true", SD_PREDICTION_LEASE="5") as first:
        alone = first.client.post("/txt2img", json=SHORT).content
        for name, picture in (("running", LONG), ("waiting", SHORT)):
            response = first.client.put(f"/predictions/{name}", json={"input": picture})
            assert response.status_code == 201
        wait_until(lambda: first.metric("sd_predictions_running") >= 1, "it to run")
        assert first.metric("sd_predictions_accepted_total") == 2
        first.process.kill()
        first.process.wait()

    store = str(tmp_path.resolve() / "store")
    (tmp_path / "second").mkdir()
    with serving(
        tmp_path / "second",
        host="local",
        SD_INVARIANT="true",
        SD_STORE=store,
        SD_PREDICTION_LEASE="5",
    ) as second:
        for name, count in (("waiting", 1), ("running", 2)):
            wait_until(lambda: _state(second, name)["status"] == "succeeded", f"{name} to end")  # noqa: B023
            assert len(_state(second, name)["output"]) == count
        picture_again = second.client.get("/predictions/waiting/output/0").content
        assert _pixels(picture_again) == _pixels(alone)
        again = second.client.put("/predictions/waiting", json={"input": SHORT})
        assert (again.status_code, again.json()["status"]) == (200, "succeeded")


def _state(server: Server, name: str) -> dict[str, Any]:
    body: dict[str, Any] = server.client.get(f"/predictions/{name}").json()
    return body


def _pixels(file: bytes) -> bytes:
    return Image.open(io.BytesIO(file)).tobytes()
