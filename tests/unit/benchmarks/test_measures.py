"""The arithmetic between records and figures."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from benchmarks.load import Outcome, Record
from benchmarks.measures import figures, percentile
from benchmarks.work import Work


def record(sent: float, done: float, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "number": 0,
        "seed": 0,
        "kind": "20 steps, 64 px",
        "steps": 20,
        "row_steps": 40,
        "outcome": Outcome.PICTURE,
    }
    return Record(sent=sent, done=done, **{**fields, **changes})


def test_percentiles_interpolate() -> None:
    assert percentile([1, 2, 3, 4], 50) == 2.5
    assert percentile([3], 99) == 3
    assert percentile(range(101), 95) == 95
    assert percentile([], 50) is None


def test_goodput_counts_pictures_between_the_ramp_and_the_end() -> None:
    records = [
        record(0.0, 1.0),  # in the ramp: the first 15 of 100 seconds
        record(10.0, 20.0),
        record(90.0, 99.0),
        record(95.0, 101.0),  # after the end
        record(50.0, 60.0, outcome=Outcome.ERROR, status=500),
    ]
    result = figures(records, 100.0, Work())
    assert result.goodput == pytest.approx(2 / 85, abs=1e-4)


def test_latencies_are_those_of_pictures_asked_for_after_the_ramp() -> None:
    records = [
        record(1.0, 50.0),
        record(20.0, 22.0),
        record(21.0, 25.0),
        record(22.0, 23.0, steps=10, kind="10 steps, 64 px"),
        record(23.0, 80.0, outcome=Outcome.LEFT),
    ]
    result = figures(records, 100.0, Work())
    assert (result.min, result.p50, result.max) == (1.0, 2.0, 4.0)
    assert result.short_p50 == 1.0
    assert result.latency_by_class == {"10 steps, 64 px": 1.0, "20 steps, 64 px": 3.0}


def test_work_is_useful_abandoned_or_padding() -> None:
    records = [record(20.0, 22.0), record(20.0, 23.0, outcome=Outcome.LEFT)]
    result = figures(
        records, 100.0, Work(row_steps=80, padding=8, wasted=20, passes=Counter({1: 4}))
    )
    assert result.useful_slot_steps == 0.5
    assert result.abandoned_steps == 0.4
    assert result.wasted_steps == 0.25
    assert result.padding == 0.1
    assert result.batch_sizes == {"1": 4}


def test_failures_are_told_apart() -> None:
    records = [
        record(20.0, 21.0, outcome=Outcome.REFUSED, status=429, retry_after=True),
        record(20.0, 21.0, outcome=Outcome.REFUSED, status=429),
        record(20.0, 21.0, outcome=Outcome.ERROR, status=503, reason="too late"),
        record(20.0, 21.0, outcome=Outcome.ERROR, reason="reset"),
        record(20.0, 80.0, outcome=Outcome.TIMEOUT),
    ]
    result = figures(records, 100.0, Work())
    assert (result.refused, result.retry_after) == (2, 1)
    assert (result.errors, result.server_errors, result.timeouts) == (3, 1, 1)
    assert result.error_reasons == {"503: too late": 1, "connection: reset": 1, "timeout": 1}
    assert result.goodput == 0
    assert result.p50 is None
    assert result.useful_slot_steps is None
