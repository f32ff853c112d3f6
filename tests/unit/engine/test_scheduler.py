"""The scheduler: which stage is next, and which jobs are in it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

import pytest

from contract.errors import ErrorCode
from contract.request import Segment
from engine.cost import TRUSTED
from engine.job import Job
from engine.limits import BatchLimits
from engine.scheduler import Plan, Scheduler, Stage
from tests.unit.engine.jobs import prepare, waiting


class Weights:
    """Everything is in memory, but for some models."""

    def __init__(self, missing: Collection[str] = ()) -> None:
        self.missing = missing
        self.broken: set[Job] = set()

    def ready(self, job: Job) -> bool:
        if job in self.broken:
            raise OSError("a file of its LoRA is gone")
        return job.model not in self.missing


@pytest.fixture
def weights() -> Weights:
    return Weights()


@pytest.fixture
def scheduler(weights: Weights) -> Scheduler:
    return Scheduler(BatchLimits(rows=8), weights)


def running(scheduler: Scheduler, *jobs: Job) -> list[Job]:
    """Jobs that were admitted one after the other."""
    for moment, job in enumerate(jobs):
        scheduler.add([job])
        job.served_at = moment
        scheduler.admitted([prepare(job)])
    return list(jobs)


def carry_out(scheduler: Scheduler, seconds: float = 0.1) -> Plan:
    """Do what is next, as the loop does."""
    plan = scheduler.next()
    assert plan is not None
    match plan.stage:
        case Stage.ENCODE:
            scheduler.admitted([prepare(job) for job in plan.jobs])
        case Stage.DENOISE:
            for job in plan.jobs:
                job.denoising.index += 1
                job.served_at = max(each.served_at for each in scheduler.running) + 1
                scheduler.advanced(job)
        case Stage.DECODE:
            scheduler.remove(plan.jobs)
    scheduler.took(plan, seconds)
    return plan


def test_the_one_served_longest_ago_leads_and_its_like_follow(scheduler: Scheduler) -> None:
    first, second, third = running(scheduler, *(waiting(seed=seed) for seed in range(3)))
    first.served_at, second.served_at, third.served_at = 3, 1, 2
    plan = scheduler.next()
    assert plan is not None
    assert plan.jobs == (second, third, first)
    assert plan.job_rows == (2, 2, 2)


def test_a_pass_is_bounded_by_rows(scheduler: Scheduler) -> None:
    jobs = running(scheduler, *(waiting(seed=seed) for seed in range(6)))
    plan = scheduler.next()
    assert plan is not None
    assert plan.jobs == tuple(jobs[:4])
    scheduler.overflowed(plan)
    smaller = scheduler.next()
    assert smaller is not None
    assert smaller.jobs == tuple(jobs[:2]), "what did not fit is halved"


def test_a_single_job_always_runs() -> None:
    scheduler = Scheduler(BatchLimits(pixels=64), Weights())
    (job,) = running(scheduler, waiting())
    plan = scheduler.next()
    assert plan is not None
    assert plan.jobs == (job,)


def test_a_gap_is_filled_by_a_job_that_fits() -> None:
    scheduler = Scheduler(BatchLimits(rows=3), Weights())
    first, _, single = running(scheduler, waiting(), waiting(), waiting(guidance_scale=1.0))
    plan = scheduler.next()
    assert plan is not None
    assert plan.jobs == (first, single)


def test_a_job_outside_of_its_guidance_interval_leaves_its_row_to_another_one() -> None:
    scheduler = Scheduler(BatchLimits(rows=3), Weights())
    steps = {"num_inference_steps": 4}
    _, late = running(scheduler, waiting(**steps), waiting(guidance_start=0.5, **steps))
    plans = [carry_out(scheduler) for _ in range(2)]
    assert [plan.job_rows for plan in plans] == [(2, 1), (2, 1)]
    assert carry_out(scheduler).job_rows == (2,), "now it needs two rows, which are not free"
    assert late.denoising.rows == 2


def test_shapes_get_the_same_time(scheduler: Scheduler) -> None:
    steps = {"num_inference_steps": 1000}
    small, large = running(scheduler, waiting(**steps), waiting(width=128, **steps))
    seconds = {small: 0.0, large: 0.0}
    for _ in range(60):
        plan = scheduler.next()
        assert plan is not None
        (job,) = plan.jobs
        took = 0.1 if job is small else 1.0
        seconds[job] += took
        job.denoising.index += 1
        scheduler.took(plan, took)
    assert seconds[large] == pytest.approx(seconds[small], abs=1.1)


def test_tenants_share_a_pass_evenly(scheduler: Scheduler) -> None:
    running(scheduler, *(waiting(tenant="many", seed=seed) for seed in range(6)))
    few = running(scheduler, *(waiting(tenant="few", seed=seed) for seed in range(2)))
    plan = scheduler.next()
    assert plan is not None
    assert sum(job in few for job in plan.jobs) == 2


def test_a_tenant_with_many_waiting_jobs_does_not_keep_others_from_being_admitted(
    scheduler: Scheduler,
) -> None:
    scheduler.add(waiting(tenant="many", seed=seed) for seed in range(50))
    last = waiting(tenant="few")
    scheduler.add([last])
    plan = scheduler.next()
    assert plan is not None
    assert plan.stage is Stage.ENCODE
    assert last in plan.jobs


def test_encoding_and_decoding_alternate_between_passes(scheduler: Scheduler) -> None:
    running(scheduler, waiting(num_inference_steps=50))
    scheduler.add(waiting(seed=seed, num_inference_steps=1) for seed in range(3))
    stages = [carry_out(scheduler).stage for _ in range(12)]
    assert Stage.ENCODE in stages
    assert Stage.DECODE in stages
    for stage, following in pairwise(stages):
        assert Stage.DENOISE in (stage, following), stages


def test_jobs_that_wait_for_weights_are_passed_over(scheduler: Scheduler, weights: Weights) -> None:
    weights.missing = {"other"}
    scheduler.add([waiting(model="other"), here := waiting()])
    plan = scheduler.next()
    assert plan is not None
    assert plan.jobs == (here,)
    scheduler.remove([here])
    assert scheduler.next() is None


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
    doomed = waiting(num_inference_steps=50, deadline=40.0)
    fine = waiting(num_inference_steps=50, deadline=60.0)
    started = waiting(num_inference_steps=50, deadline=40.0)
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


def test_an_exception_names_the_job_that_caused_it(scheduler: Scheduler, weights: Weights) -> None:
    running(scheduler, waiting(seed=1))
    carry_out(scheduler)
    fine, broken, behind = (waiting(seed=seed) for seed in range(3))
    scheduler.add([fine, broken, behind])
    weights.broken = {broken}
    with pytest.raises(OSError, match="gone"):
        scheduler.next()
    assert scheduler.suspect is broken
    scheduler.remove([broken])
    plan = scheduler.next()
    assert plan is not None
    assert plan.jobs == (fine,), "of what is not known yet, one at a time"


def test_segments_are_queued_one_after_the_other_and_hold_one_model_at_a_time(
    scheduler: Scheduler, weights: Weights
) -> None:
    segments = (Segment("embedded", 0, 0.5), Segment("other", 0.5, 1))
    job = waiting(segments=segments, num_inference_steps=4)
    weights.missing = {"other"}
    scheduler.add([job, waiting(num_inference_steps=1)])

    def holders(model: str) -> Sequence[Job]:
        return [each for each in scheduler.in_progress if each.model == model]

    while job.model == "embedded":
        carry_out(scheduler)
    assert job in scheduler.waiting
    assert job.state is None
    assert job.handover is not None
    assert not holders("other")
    while scheduler.next() is not None:
        carry_out(scheduler)
    assert scheduler.jobs == [job], "it waits for its second model, and holds neither"
    weights.missing = ()
    stages = [carry_out(scheduler) for _ in range(4)]
    assert [(plan.stage, plan.model) for plan in stages] == [
        (Stage.ENCODE, "other"),
        (Stage.DENOISE, "other"),
        (Stage.DENOISE, "other"),
        (Stage.DECODE, "other"),
    ]
    assert scheduler.jobs == []
