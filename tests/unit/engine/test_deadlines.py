"""Deadlines: who goes first, and who is ended early."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from contract.errors import ErrorCode
from contract.request import Segment
from engine.cost import TRUSTED
from engine.job import Job
from engine.limits import BatchLimits
from engine.plan import Stage
from engine.scheduler import Scheduler
from tests.unit.engine.jobs import Weights, carry_out, running, waiting


@pytest.fixture
def weights() -> Weights:
    return Weights()


@pytest.fixture
def scheduler(weights: Weights) -> Scheduler:
    return Scheduler(BatchLimits(rows=8), weights)


def learned(scheduler: Scheduler, seconds: float) -> None:
    """Let it learn what passes of 64 x 64 take, and leave it empty."""
    (job,) = running(scheduler, waiting(num_inference_steps=TRUSTED + 5))
    for _ in range(TRUSTED + 2):
        carry_out(scheduler, seconds)
    scheduler.remove([job])


def test_a_running_job_that_would_miss_its_deadline_goes_first(scheduler: Scheduler) -> None:
    learned(scheduler, 1.0)
    running(scheduler, *(waiting(seed=seed, width=64 + 8 * seed) for seed in range(3)))
    urgent = waiting(num_inference_steps=5, deadline=7.0, width=128)
    running(scheduler, urgent)
    served: list[Any] = []
    for _ in range(5):
        plan = scheduler.next()
        assert plan is not None
        served += plan.jobs
        plan.jobs[0].denoising.index += 1
        scheduler.took(plan, 1.0)
        for job in scheduler.running:
            job.submitted_at -= 1.0  # as if that second had passed
    assert served == [urgent] * 5


def test_a_running_job_that_may_not_make_it_anyway_does_not_go_first(scheduler: Scheduler) -> None:
    learned(scheduler, 1.0)
    late = waiting(num_inference_steps=50, deadline=40.0, width=128)
    _, other = running(scheduler, late, waiting(num_inference_steps=50))
    served: list[Job] = []
    for _ in range(6):
        plan = scheduler.next()
        assert plan is not None
        served += plan.jobs
        plan.jobs[0].denoising.index += 1
        scheduler.took(plan, 1.0)
    assert served.count(other) >= 2, "it gets its turns"


def test_a_waiting_job_that_would_miss_its_deadline_is_admitted_first(
    scheduler: Scheduler,
) -> None:
    learned(scheduler, 1.0)
    scheduler.add(waiting(seed=seed, model=f"model-{seed}") for seed in range(5))
    urgent = waiting(num_inference_steps=8, deadline=10.0)
    scheduler.add([urgent])
    plan = scheduler.next()
    assert plan is not None
    assert plan.jobs == (urgent,)


def test_a_job_that_cannot_make_it_any_more_is_ended(scheduler: Scheduler) -> None:
    learned(scheduler, 1.0)
    # A pass of two rows took a second.
    doomed = waiting(num_inference_steps=50, deadline=20.0)
    fine = waiting(num_inference_steps=50, deadline=60.0)
    started = waiting(num_inference_steps=50, deadline=20.0)
    running(scheduler, started)
    scheduler.add([doomed, fine])
    ended = dict(scheduler.expired())
    assert ended.keys() == {doomed, started}
    assert {error.code for error in ended.values()} == {ErrorCode.DEADLINE_EXCEEDED}


def test_nothing_is_ended_before_enough_is_known(scheduler: Scheduler) -> None:
    (job,) = running(scheduler, waiting(num_inference_steps=50, deadline=40.0))
    for _ in range(3):
        carry_out(scheduler, 1.0)  # kernels and threads settle at first
    assert scheduler.expired() == []
    job.cancel()
    ((ended, error),) = scheduler.expired()
    assert ended is job
    assert error.code is ErrorCode.CANCELLED


def test_large_batches_say_nothing_of_what_one_job_takes(scheduler: Scheduler) -> None:
    many = {"num_inference_steps": TRUSTED + 10}
    jobs = running(scheduler, *(waiting(seed=seed, **many) for seed in range(4)))
    for _ in range(TRUSTED + 5):
        carry_out(scheduler, 1.0)  # eight rows
    scheduler.remove(jobs)
    scheduler.add([waiting(num_inference_steps=50, deadline=30.0)])
    assert scheduler.expired() == [], "alone, it may take an eighth of the time"


def test_each_segment_counts_with_the_cost_of_its_own_model(scheduler: Scheduler) -> None:
    learned(scheduler, 1.0)
    segments = (Segment("embedded", 0, 0.5), Segment("fast", 0.5, 1))
    scheduler.add([waiting(num_inference_steps=40, deadline=25.0, segments=segments)])
    assert scheduler.expired() == [], "20 seconds, and what the other model takes is not known"


def test_urgent_jobs_do_not_keep_others_from_their_turns(scheduler: Scheduler) -> None:
    learned(scheduler, 1.0)
    poor = waiting(num_inference_steps=1000, width=128, deadline=3600.0)
    running(scheduler, poor)
    served = Counter[str]()
    for _ in range(200):
        # There is always one that is about to miss its deadline.
        rich = waiting(num_inference_steps=5, deadline=6.0, tenant="rich")
        running(scheduler, rich)
        plan = scheduler.next()
        while plan is not None and plan.stage is not Stage.DENOISE:
            plan = scheduler.next()
        assert plan is not None
        served[plan.jobs[0].request.tenant] += 1
        scheduler.took(plan, 1.0)
        scheduler.remove([job for job in scheduler.running if job is not poor])
    assert served[""] >= 60
    assert served["rich"] >= 60


def test_an_urgent_job_is_admitted_where_passes_are_full_already(scheduler: Scheduler) -> None:
    learned(scheduler, 1.0)
    running(scheduler, *(waiting(seed=seed, num_inference_steps=100) for seed in range(4)))
    urgent = waiting(num_inference_steps=10, deadline=12.0)
    scheduler.add([waiting(seed=9), urgent])
    assert scheduler.admissible() == [urgent]


def test_one_slow_first_pass_makes_nothing_urgent(scheduler: Scheduler) -> None:
    (cold,) = running(scheduler, waiting(num_inference_steps=50))
    carry_out(scheduler, 20.0)
    carry_out(scheduler, 0.1)
    scheduler.remove([cold])
    first, second = waiting(width=128), waiting(num_inference_steps=10, deadline=50.0)
    scheduler.add([first, second])
    assert scheduler.admissible()[0] is first
