"""The number of CPU threads follows what is faster at the time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from engine.cpu.threads import PROBE_INTERVAL, ThreadPlan, ThreadTuner


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Clock:
    """A clock that stands still but for the work that is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Work:
    """Takes as long as it is told to, by the number of threads."""

    def __init__(self, clock: Clock, **seconds: float) -> None:
        self.clock = clock
        self.seconds = {1: seconds["alone"], 2: seconds["together"]}
        self.calls: list[int] = []

    def __call__(self) -> int:
        threads = torch.get_num_threads()
        self.calls.append(threads)
        self.clock.now += self.seconds[threads]
        return threads


def test_it_settles_on_the_faster_choice(clock: Clock) -> None:
    tuner = ThreadTuner([ThreadPlan(2), ThreadPlan(1)], clock)
    alone = Work(clock, alone=0.001, together=0.03)
    together = Work(clock, alone=0.03, together=0.001)
    for _ in range(10):
        tuner.run("small", 1, alone)
        tuner.run("large", 1, together)
    assert alone.calls[3:] == [1] * 7
    assert together.calls[3:] == [2] * 7


def test_it_notices_that_things_have_changed(clock: Clock) -> None:
    tuner = ThreadTuner([ThreadPlan(2), ThreadPlan(1)], clock)
    work = Work(clock, alone=0.005, together=0.001)
    for _ in range(10):
        tuner.run("pass", 1, work)
    work.seconds[2] = 0.05  # something else has taken a core
    for _ in range(10):
        tuner.run("pass", 1, work)
    assert work.calls[-5:] == [1] * 5
    work.seconds[2] = 0.001
    for _ in range(6 * PROBE_INTERVAL):
        tuner.run("pass", 1, work)
    assert work.calls[-5:] == [2] * 5


def test_work_is_done_in_parts_where_that_is_faster_and_possible(clock: Clock) -> None:
    tuner = ThreadTuner([ThreadPlan(2), ThreadPlan(1, split=2), ThreadPlan(1)], clock)
    whole = Work(clock, alone=0.02, together=0.03)
    parts: list[ThreadPlan] = []

    def divided(way: ThreadPlan) -> int:
        parts.append(way)
        clock.now += 0.01
        return 0

    for _ in range(10):
        tuner.run("pass", 1, whole, divided)
    assert whole.calls[:2] == [2, 2]
    assert whole.calls.count(1) == 1
    assert parts == [ThreadPlan(1, split=2)] * 7
    for _ in range(10):
        tuner.run("pass", 1, whole)
    assert whole.calls[-5:] == [1] * 5
    assert len(parts) == 7


def test_a_single_choice_is_kept(clock: Clock) -> None:
    tuner = ThreadTuner([ThreadPlan(2)], clock)
    work = Work(clock, alone=0.0, together=0.001)
    torch.set_num_threads(1)
    assert {tuner.run("pass", 1, work) for _ in range(4)} == {2}


def test_what_fails_is_not_learned_from(clock: Clock) -> None:
    tuner = ThreadTuner([ThreadPlan(2), ThreadPlan(1)], clock)

    def broken() -> None:
        raise ValueError("broken")

    for _ in range(5):
        with pytest.raises(ValueError, match="broken"):
            tuner.run("pass", 1, broken)
    work = Work(clock, alone=0.001, together=0.02)
    for _ in range(6):
        tuner.run("pass", 1, work)
    assert work.calls[-3:] == [1] * 3
