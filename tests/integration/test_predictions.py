"""Predictions on a real server: Replicate's client as it is, and an end with kill -9."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError

from tests.integration.server import Server, serving, wait_until

LONG = {"prompt": "a red apple", "num_inference_steps": 100, "num_images": 2, "seed": 5}
SHORT = {"prompt": "a red apple", "num_inference_steps": 4, "seed": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predictions")


@pytest.fixture(scope="module")
def first(folder: Path) -> Iterator[Server]:
    """A server that one of the tests kills."""
    with serving(folder, host="local", SD_PREDICTION_LEASE="5") as server:
        yield server


@pytest.mark.slow
def test_replicates_client(first: Server) -> None:
    """Nothing of it but the address is changed."""
    client = Client(api_token="none", base_url=first.url)
    # Links: it makes files of them where they begin with https.
    (link,) = client.run("anyone/embedded", input=SHORT)
    (again,) = client.run("anyone/embedded:embedded", input=SHORT)
    assert _pixels(httpx.get(again).content) == _pixels(httpx.get(link).content)

    prediction = client.predictions.create(version="embedded", input=LONG)
    states = [prediction.status]
    prediction.reload()
    prediction.cancel()
    prediction.wait()
    assert [*states, prediction.status] == ["starting", "canceled"]
    done = client.predictions.create(version="embedded", input=SHORT, wait=True)
    assert done.status == "succeeded"
    assert done.progress is not None
    assert (done.progress.current, done.progress.total) == (4, 4)
    ids = [one.id for one in client.predictions.list()]
    assert ids[:2] == [done.id, prediction.id]
    assert client.models.get("anyone/embedded").latest_version is not None
    assert client.webhooks.default.secret().key.startswith("whsec_")
    with pytest.raises(ReplicateError, match="width must be a multiple of 8"):
        client.run("anyone/embedded", input={**SHORT, "width": 65})
    late = {"input": SHORT, "deadline": 0.001}
    failed = httpx.post(f"{first.url}/predictions", json=late, headers={"Prefer": "wait"}).json()
    assert (failed["status"], failed["error_code"]) == ("failed", "deadline_exceeded")
    with pytest.raises(ModelError):
        raise ModelError(client.predictions.get(failed["id"]))


@pytest.mark.slow
def test_what_was_accepted_is_run_after_a_kill(first: Server, folder: Path) -> None:
    alone = first.client.post("/txt2img", json=SHORT).content
    running = first.client.put("/predictions/running", json={"input": LONG})
    waiting = first.client.put("/predictions/waiting", json={"input": SHORT})
    assert (running.status_code, waiting.status_code) == (201, 201)
    wait_until(lambda: first.metric("sd_predictions_running") >= 1, "it to run")
    assert first.metric("sd_predictions_accepted_total") >= 2
    first.process.kill()
    first.process.wait()

    store = str(folder.resolve() / "store")
    (folder / "second").mkdir()
    with serving(
        folder / "second", host="local", SD_STORE=store, SD_PREDICTION_LEASE="5"
    ) as second:
        for name, count in (("waiting", 1), ("running", 2)):

            def ended(name: str = name) -> bool:
                state = second.client.get(f"/predictions/{name}").json()["status"]
                return bool(state == "succeeded")

            wait_until(ended, f"{name} to end")
            body = second.client.get(f"/predictions/{name}").json()
            assert len(body["output"]) == count
        picture = second.client.get("/predictions/waiting/output/0").content
        assert _pixels(picture) == _pixels(alone)
        again = second.client.put("/predictions/waiting", json={"input": SHORT})
        assert (again.status_code, again.json()["status"]) == (200, "succeeded")


def _pixels(file: bytes) -> bytes:
    return Image.open(io.BytesIO(file)).tobytes()
