"""The scheduler: which stage is next, and which jobs are in it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from contract.request import Segment
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


def test_the_one_served_longest_ago_leads_and_its_like_follow(scheduler: Scheduler) -> None:
    first, second, third = running(scheduler, *(waiting(seed=seed) for seed in range(3)))
    first.served_at, second.served_at, third.served_at = 3, 1, 2
    plan = scheduler.next()
    assert plan is not None
    assert plan.jobs == (second, third, first)
    assert plan.job_rows == (2, 2, 2)


def test_what_does_not_fit_is_halved_in_blocks_too() -> None:
    scheduler = Scheduler(BatchLimits(rows=16, block=8), Weights())
    running(scheduler, *(waiting(seed=seed) for seed in range(4)))
    sizes = []
    for _ in range(3):
        plan = scheduler.next()
        assert plan is not None
        assert plan.rows == 8
        sizes.append(len(plan.jobs))
        scheduler.overflowed(plan)
    assert sizes == [4, 2, 1]


def test_a_pass_is_bounded_by_rows(scheduler: Scheduler) -> None:
    jobs = running(scheduler, *(waiting(seed=seed) for seed in range(6)))
    plan = scheduler.next()
    assert plan is not None
    assert plan.jobs == tuple(jobs[:4])
    scheduler.overflowed(plan)
    smaller = scheduler.next()
    assert smaller is not None
    assert smaller.jobs == tuple(jobs[:2]), "what did not fit is halved"


def test_each_model_has_limits_of_its_own() -> None:
    """A pass of the one that did not fit says nothing of the other either."""
    limits = BatchLimits(rows=16, own_pixels={"large": 4 * 64 * 64})
    scheduler = Scheduler(limits, Weights())
    running(
        scheduler, *(waiting(model=name, seed=seed) for seed in range(6) for name in ("large", "b"))
    )

    def jobs_of_a_pass() -> dict[str, int]:
        jobs: dict[str, int] = {}
        # The smaller pass may count less, and so be made more often.
        while len(jobs) < 2:
            plan = carry_out(scheduler)
            assert plan.stage is Stage.DENOISE
            assert jobs.setdefault(plan.model, len(plan.jobs)) == len(plan.jobs)
        return jobs

    assert jobs_of_a_pass() == {"large": 2, "b": 6}
    plan = scheduler.next()
    while plan is not None and plan.model != "large":
        carry_out(scheduler)
        plan = scheduler.next()
    assert plan is not None
    scheduler.overflowed(plan)
    assert jobs_of_a_pass() == {"large": 1, "b": 6}


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


@pytest.mark.parametrize("broken_is", ["waiting", "running"])
def test_a_fault_of_any_estimate_names_its_job(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, broken_is: str
) -> None:
    jobs = running(scheduler, *(waiting(seed=seed) for seed in range(3)))
    queued = [waiting(seed=seed) for seed in range(3)]
    scheduler.add(queued)
    culprit = queued[1] if broken_is == "waiting" else jobs[1]
    seconds_left = type(culprit).seconds_left

    def look(job: Job) -> float:
        if job is culprit:
            raise ArithmeticError("no clock")
        left: float = seconds_left.fget(job)  # type: ignore[attr-defined]
        return left

    monkeypatch.setattr(type(culprit), "seconds_left", property(look))
    look_at = scheduler.admissible if broken_is == "waiting" else scheduler.next
    for method in (scheduler.expired, look_at):
        scheduler.suspect = None
        with pytest.raises(ArithmeticError):
            method()
        assert scheduler.suspect is culprit
    scheduler.remove([culprit])
    assert scheduler.expired() == []
    assert scheduler.next() is not None
