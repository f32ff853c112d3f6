"""What a client with small pictures notices of another one's load, on a device of known speed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.job import Job
from engine.limits import BatchLimits
from engine.plan import Plan, Stage
from engine.scheduler import Scheduler
from tests.unit.engine.jobs import Weights, prepare, waiting
from tests.unit.engine.known_device import (
    BOUND,
    SMALL,
    alone,
    device,
    seconds_by_rows,
    seconds_of,
    shares,
)


def job_of_another(draw: st.DrawFn) -> dict[str, Any]:
    # The largest take about as long as a pass may.
    width, height = (8 * draw(st.integers(8, 34)) for _ in range(2))
    changes: dict[str, Any] = {
        "tenant": "other",
        "width": width,
        "height": height,
        "num_inference_steps": draw(st.sampled_from([1, 2, 10, 60])),
        "guidance_scale": draw(st.sampled_from([1.0, 3.0])),
        "deadline": 3600.0,
    }
    if draw(st.booleans()):
        changes |= {"init_image": b"", "strength": 1.0}
    return changes


@st.composite
def loads(draw: st.DrawFn) -> list[tuple[float, list[Job]]]:
    """Up to 48 pictures, some of them in batches of the same size, and when they come."""
    load: list[tuple[float, list[Job]]] = []
    for _ in range(draw(st.integers(1, 12))):
        changes = job_of_another(draw)
        jobs = [waiting(seed=seed, **changes) for seed in range(draw(st.integers(1, 4)))]
        load.append((draw(st.floats(0, 3, allow_subnormal=False)), jobs))
    return load


@given(loads(), st.floats(0, 5, allow_subnormal=False))
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_small_picture_waits_for_one_piece_of_work_and_gets_half_of_the_time(
    load: list[tuple[float, list[Job]]], comes: float
) -> None:
    busy = device()
    job = waiting(**SMALL)
    busy.run([*load, (comes, [job])], lambda: job in busy.done)
    own = alone()
    # A turn of each: what was begun when it came, and as much for the other as for itself.
    assert busy.done[job] - comes <= own + busy.longest + 1.5 * own + 0.05


@given(loads())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_so_does_one_after_the_other(load: list[tuple[float, list[Job]]]) -> None:
    busy = device()
    own = alone()
    small = [waiting(seed=seed, **SMALL) for seed in range(8)]
    busy.run(load, lambda: busy.now > 3.0)
    for job in small:
        begun = busy.now
        # Something else is begun before it comes.
        busy.run([(begun + 0.005, [job])], partial(busy.done.__contains__, job))
        assert busy.now - begun <= 2.5 * own + busy.longest + 0.05


@given(loads())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_piece_of_work_is_longer_than_the_bound(load: list[tuple[float, list[Job]]]) -> None:
    busy = device()
    # What pictures of the usual size take is known.
    first = [waiting(**SMALL), waiting(init_image=b"", strength=1.0)]
    jobs = [*first, *(job for _, some in load for job in some)]
    busy.run([(0.0, first), *load], lambda: len(busy.done) == len(jobs))
    assert busy.longest <= 2 * BOUND
    single = max(seconds_of(plan) for plan in busy.plans if len(plan.jobs) == 1)
    assert busy.longest <= max(single, 1.2 * BOUND)


def test_the_other_one_gets_its_half_too() -> None:
    busy = device()
    small = [waiting(seed=seed, **SMALL) for seed in range(200)]
    large = [waiting(tenant="other", width=256, height=256, num_inference_steps=30)]
    busy.run([(0.0, small), (0.0, large)], lambda: large[0] in busy.done)
    quiet = device()
    again = [waiting(tenant="other", width=256, height=256, num_inference_steps=30)]
    quiet.run([(0.0, again)], lambda: again[0] in quiet.done)
    assert busy.now <= 2.2 * quiet.now


def test_a_tenant_with_three_times_the_weight_gets_three_times_the_time() -> None:
    busy = device()
    # Of two sizes, which share no pass.
    favoured = [
        waiting(tenant="favoured", tenant_weight=3.0, num_inference_steps=100) for _ in range(20)
    ]
    other = [waiting(tenant="other", width=128, num_inference_steps=100) for _ in range(20)]
    busy.run([(0.0, favoured), (0.0, other)], lambda: len(busy.plans) == 120)

    seconds = shares(busy.plans, seconds_of)
    assert seconds["favoured"] / seconds["other"] == pytest.approx(3.0, rel=0.15)


@pytest.mark.parametrize("weight", [1.0, 2.0])
def test_beside_a_full_queue_of_its_size_a_picture_waits_for_the_pass_that_runs(
    weight: float,
) -> None:
    busy = device()
    greedy = [waiting(tenant="other", num_inference_steps=50, seed=one) for one in range(48)]
    busy.run([(0.0, greedy)], lambda: busy.now > 0.5)
    small = waiting(**SMALL, tenant_weight=weight)
    begun = busy.now
    busy.run([(begun + 0.005, [small])], lambda: small in busy.done)
    assert busy.now - begun < 1.5 * alone()


@pytest.mark.parametrize(("seconds", "most"), [(seconds_of, 1.5), (seconds_by_rows, 2.6)])
def test_of_two_tenants_each_has_as_much_work_done(
    seconds: Callable[[Plan], float], most: float
) -> None:
    """Beside a full queue: 1.7 and 3.4 times, if the other one were in every pass."""
    busy = device(seconds)
    long = {"tenant": "other", "num_inference_steps": 50, "deadline": 3600.0}
    greedy = [waiting(**long, seed=seed) for seed in range(300)]
    busy.run([(0.0, greedy)], lambda: busy.now > 1.0)
    times, earlier = [], len(busy.plans)
    for seed in range(8):
        small = waiting(**SMALL, seed=seed)
        comes = busy.now + 0.005
        busy.run([(comes, [small])], partial(busy.done.__contains__, small))
        times.append((busy.now - comes) / alone(seconds))
    assert median(times) <= most
    # The other one has its half all the same: of the rows, which in full passes take less time.
    rows: Counter[str] = Counter()
    for plan in busy.plans[earlier:]:
        if plan.stage is Stage.DENOISE:
            for job, each in zip(plan.jobs, plan.job_rows, strict=True):
                rows[job.tenant] += each
    assert rows["other"] / rows.total() > 0.45


def test_each_picture_of_a_tenant_gets_the_same_time() -> None:
    """So a shape of many has most of the passes, and many pictures share one."""
    busy = device()
    long = {"num_inference_steps": 1000, "deadline": 3600.0}
    many = [waiting(**long, seed=seed) for seed in range(8)]
    single = waiting(**long, width=128)
    busy.run([(0.0, [*many, single])], lambda: busy.now > 10.0)
    passes = [plan for plan in busy.plans if plan.stage is Stage.DENOISE]
    seconds = {
        shape: sum(seconds_of(plan) / len(plan.jobs) for plan in passes if plan.shape == shape)
        for shape in {plan.shape for plan in passes}
    }
    assert seconds[single.shape] == pytest.approx(seconds[many[0].shape], rel=0.1)


def test_those_who_wait_come_in_turn_by_weight() -> None:
    scheduler = Scheduler(BatchLimits(seconds=BOUND), Weights())
    favoured = [waiting(tenant="favoured", tenant_weight=2.0) for _ in range(4)]
    other = [waiting(tenant="other") for _ in range(4)]
    scheduler.add([*other, *favoured])

    names = [job.tenant for job in scheduler.waiting]
    assert names[:6].count("favoured") == 4


def test_decodes_of_one_tenant_do_not_come_between_the_passes_of_another() -> None:
    busy = device()
    many = [
        waiting(tenant="other", width=200 + 8 * seed, num_inference_steps=1) for seed in range(40)
    ]
    busy.run([(0.0, many)], lambda: len(busy.plans) == 10)
    small = waiting(**SMALL)
    busy.scheduler.add([small])
    begun = len(busy.plans)
    busy.run([], lambda: small in busy.done)
    own = [index for index, plan in enumerate(busy.plans[begun:]) if small in plan.jobs]
    between = [second - first - 1 for first, second in pairwise(own)]
    assert sum(between) <= len(own) / 2, "it has most of the turns, as they are short"


def test_a_pass_led_by_one_tenant_has_room_for_as_much_of_each_other() -> None:
    scheduler = Scheduler(BatchLimits(rows=32), Weights())
    jobs = [waiting(tenant="many", seed=seed) for seed in range(16)]
    jobs.append(waiting(tenant="few"))
    for moment, job in enumerate(jobs):
        scheduler.add([job])
        job.served_at = moment
        scheduler.admitted([prepare(job)])
    rows = {}
    for _ in range(2):
        plan = scheduler.next()
        assert plan is not None
        rows[plan.jobs[0].tenant] = plan.rows
        scheduler.took(plan, 0.1)
    assert rows == {"many": 32, "few": 4}


def test_the_rows_of_a_pass_are_bounded_by_what_they_take() -> None:
    busy = device()
    large = [waiting(width=128, height=128, seed=seed) for seed in range(40)]
    busy.run([(0.0, large)], lambda: len(busy.done) == len(large))
    rows = [plan.rows for plan in busy.plans if plan.stage is Stage.DENOISE]
    assert max(rows) > 16
    assert busy.longest <= 1.1 * BOUND


@pytest.mark.parametrize("tenants", [2, 8])
def test_tenants_with_a_picture_each_share_their_passes(tenants: int) -> None:
    """Fairness costs no throughput where all want the same."""
    busy = device()
    jobs = [waiting(tenant=str(number), num_inference_steps=20) for number in range(tenants)]
    busy.run([(0.0, jobs)], lambda: len(busy.done) == tenants)
    passes = [len(plan.jobs) for plan in busy.plans if plan.stage is Stage.DENOISE]
    assert len(passes) <= 20 + tenants
    stages = [plan.stage for plan in busy.plans]
    assert stages.count(Stage.DECODE) <= tenants


def test_a_new_start_owes_nothing() -> None:
    busy = device()
    busy.run([(0.0, [waiting(tenant="other", num_inference_steps=50)])], lambda: bool(busy.done))
    busy.scheduler.add([waiting(tenant="other"), waiting(**SMALL)])
    plan = busy.scheduler.next()
    assert plan is not None
    assert {job.tenant for job in plan.jobs} == {"other", "small"}
