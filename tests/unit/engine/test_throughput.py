"""How much is done in a second."""

from __future__ import annotations

import random

import pytest

from engine import throughput
from engine.throughput import Throughput


class Clock:
    """A time that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(throughput, "monotonic", clock)
    return clock


def test_it_is_the_rate_of_the_time_with_work(clock: Clock) -> None:
    pictures = Throughput()
    pictures.began()
    for _ in range(60):
        clock.now += 3.0
        pictures.did(1.0)
    assert pictures.wait(10, 10) == pytest.approx(30, abs=0.1)
    clock.now += 1000.0  # nobody came
    for _ in range(60):
        pictures.began()
        clock.now += 2.0
        pictures.did(1.0)
        clock.now += 5.0
    assert pictures.wait(10, 10) == pytest.approx(20, rel=0.1)


def test_bursts_at_a_steady_rate_give_steady_answers(clock: Clock) -> None:
    """Eight pictures a second, done eight at a time."""
    pictures = Throughput()
    pictures.began()
    dice = random.Random(1)
    answers = []
    for second in range(120):
        clock.now += 1.0 + dice.uniform(-0.05, 0.05)
        for _ in range(8):
            pictures.did(1.0)
            if second > 4:
                answers.append(pictures.wait(64, 64))
            clock.now += 0.002
        clock.now -= 0.016
    assert min(answers) > 8 * 0.75
    assert max(answers) < 8 * 1.25


def test_what_is_done_first_does_not_matter(clock: Clock) -> None:
    pictures = Throughput()
    pictures.began()
    for work in [1.0] * 100 + [50.0] * 2:
        clock.now += 0.1 * work
        pictures.did(work)
        assert pictures.wait(100, 3) == pytest.approx(10, abs=0.1)


def test_a_wait_is_one_to_a_hundred_and_twenty_seconds() -> None:
    assert Throughput().wait(0, 0) == 1
    assert Throughput().wait(1e9, 1_000) == 120
