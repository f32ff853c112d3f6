"""How fast pictures are done."""

from __future__ import annotations

import pytest

from engine import throughput
from engine.throughput import Throughput


def test_the_interval_between_pictures_counts_while_others_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(throughput, "monotonic", lambda: now[0])
    pictures = Throughput()
    for _ in range(60):
        now[0] += 3.0
        pictures.done(submitted_at=90.0)
    assert pictures.wait(10) == pytest.approx(30, abs=0.1)
    now[0] += 1000.0  # nobody came
    for _ in range(60):
        now[0] += 2.0
        pictures.done(submitted_at=now[0] - 2.0)
    assert pictures.wait(10) == pytest.approx(20, abs=0.1)


def test_a_wait_is_one_to_a_hundred_and_twenty_seconds() -> None:
    assert Throughput().wait(0) == 1
    assert Throughput().wait(1_000) == 120
