"""Which jobs of different sizes share a pass, and what each is charged for it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.job import Job
from engine.limits import BatchLimits
from engine.plan import Plan
from engine.scheduler import Scheduler
from tests.unit.engine.jobs import Weights, carry_out, running, waiting

LONG: dict[str, Any] = {"num_inference_steps": 1000}
SMALL, LARGE = 64 * 64, 128 * 128


def small(**changes: Any) -> Job:
    return waiting(**(LONG | changes))


def large(**changes: Any) -> Job:
    return waiting(**(LONG | {"width": 128, "height": 128} | changes))


def mixing(scheduler: Scheduler, *jobs: Job) -> list[Job]:
    """Jobs of a model that can have different sizes in a pass."""
    return running(scheduler, *jobs, mixed_sizes=True)


def next_plan(scheduler: Scheduler) -> Plan:
    plan = scheduler.next()
    assert plan is not None
    return plan


def test_sizes_share_a_pass_where_the_model_can_mix_them() -> None:
    scheduler = Scheduler(BatchLimits(), Weights())
    jobs = mixing(scheduler, small(), large(), small(seed=1))
    plan = next_plan(scheduler)
    assert plan.jobs == tuple(jobs)
    assert plan.rows == 6
    assert [(size.pixels, size.rows) for size in plan.sizes] == [(SMALL, 4), (LARGE, 2)]


@pytest.mark.parametrize("first", [small, large])
def test_pixels_bound_a_pass_of_any_sizes(first: Any) -> None:
    most = 10 * LARGE
    scheduler = Scheduler(BatchLimits(rows=32, pixels=most), Weights())
    jobs = [small(seed=seed) if seed % 3 else large(seed=seed) for seed in range(24)]
    mixing(scheduler, first(), *jobs)
    plan = next_plan(scheduler)
    assert len({job.pixels for job in plan.jobs}) == 2
    pixels = sum(job.pixels * rows for job, rows in zip(plan.jobs, plan.job_rows, strict=True))
    assert most / 2 < pixels <= most
    assert sum(plan.job_rows) <= 32


def test_rows_bound_a_pass_of_any_sizes() -> None:
    scheduler = Scheduler(BatchLimits(rows=8), Weights())
    mixing(scheduler, *(make(seed=seed) for seed in range(6) for make in (small, large)))
    assert sum(next_plan(scheduler).job_rows) == 8


def test_passes_keep_to_the_time_that_each_size_takes() -> None:
    """A small row takes 0.02 s, a large one 0.1 s: in half a second there is room for a part of
    both."""
    scheduler = Scheduler(BatchLimits(seconds=0.5), Weights())
    jobs = mixing(scheduler, *(make(seed=seed) for seed in range(8) for make in (small, large)))
    mixed = 0
    for _ in range(60):
        plan = next_plan(scheduler)
        seconds = sum(
            rows * (0.02 if job.pixels == SMALL else 0.1)
            for job, rows in zip(plan.jobs, plan.job_rows, strict=True)
        )
        assert seconds <= 0.5 + 1e-6
        mixed += len(plan.sizes) > 1
        for job in plan.jobs:
            job.served_at = max(each.served_at for each in jobs) + 1
        scheduler.took(plan, seconds)
    assert mixed > 15, "the others are full of one size"


def test_the_first_pass_of_a_size_is_its_own() -> None:
    scheduler = Scheduler(BatchLimits(seconds=0.5), Weights())
    mixing(scheduler, small(), large())
    sizes = [len(carry_out(scheduler, 0.01).sizes) for _ in range(3)]
    assert sizes == [1, 1, 2]


def test_a_tenant_pays_for_the_size_of_its_rows() -> None:
    scheduler = Scheduler(BatchLimits(), Weights())
    mixing(scheduler, small(tenant="few"), large(tenant="many"))
    plan = next_plan(scheduler)
    assert plan.jobs[0].pixels == SMALL
    assert len(plan.jobs) == 1, "a large one would make the pass five times as long, not twice"
    scheduler.took(plan, 0.01)
    plan = next_plan(scheduler)
    assert [job.tenant for job in plan.jobs] == ["many", "few"]
    assert plan.shares[0] == pytest.approx(plan.shares[1] * LARGE / SMALL)


def test_what_did_not_fit_is_halved_for_its_sizes() -> None:
    scheduler = Scheduler(BatchLimits(rows=8), Weights())
    mixing(scheduler, *(make(seed=seed) for seed in range(3) for make in (small, large)))
    rows = []
    for _ in range(4):
        plan = next_plan(scheduler)
        rows.append(sum(plan.job_rows))
        scheduler.overflowed(plan)
    assert rows == [8, 4, 2, 2]


def test_passes_are_padded_only_where_all_have_one_size() -> None:
    scheduler = Scheduler(BatchLimits(buckets=(4, 8, 16)), Weights())
    mixing(scheduler, small(), small(seed=1), small(seed=2))
    assert next_plan(scheduler).rows == 8
    scheduler = Scheduler(BatchLimits(buckets=(4, 8, 16)), Weights())
    mixing(scheduler, small(), small(seed=1), large())
    assert next_plan(scheduler).rows == 6


def test_pictures_are_decoded_by_size() -> None:
    scheduler = Scheduler(BatchLimits(), Weights())
    mixing(scheduler, *(make(num_inference_steps=1) for make in (small, large)))
    assert len(carry_out(scheduler).jobs) == 2
    assert [len(carry_out(scheduler).jobs) for _ in range(2)] == [1, 1]
