"""A short soak: every job ends as it should."""

from __future__ import annotations

from itertools import islice

import pytest
from prometheus_client import REGISTRY

from benchmarks import embedded
from benchmarks.soak import OVERFLOW, soak, tasks
from tests.effort import only_in_full


def test_the_mix_has_failures_cancels_and_previews() -> None:
    some = list(islice(tasks(1), 2_000))
    failing = [
        task.request
        for task in some
        if task.request.guidance_scale == OVERFLOW or task.request.scheduler == "none"
    ]
    assert 0.03 < len(failing) / len(some) < 0.07
    assert {request.scheduler == "none" for request in failing} == {True, False}
    assert 0.08 < sum(task.cancel_after is not None for task in some) / len(some) < 0.12
    assert any(task.request.wants_previews for task in some)
    assert any(task.request.init_image for task in some)


@only_in_full
def test_every_job_of_a_soak_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    # The measurements of an engine are those of its process, which may have had one before.
    monkeypatch.setattr(REGISTRY, "register", lambda collector: None)
    engine = embedded.build()
    try:
        result = soak(engine, jobs=60, early=20)
    finally:
        engine.close()
    assert sum(result.outcomes.values()) == 60
    wanted = list(islice(tasks(1), 60))
    failing = sum(
        task.request.guidance_scale == OVERFLOW or task.request.scheduler == "none"
        for task in wanted
    )
    staying = sum(task.cancel_after is None for task in wanted)
    assert result.outcomes["picture"] >= staying - failing
    assert result.outcomes.keys() <= {"picture", "internal", "cancelled"}
    assert result.early > 0
    assert result.late > 0
