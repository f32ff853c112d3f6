"""Which jobs share a pass, and the rows it gets."""

from __future__ import annotations

import pytest
import torch

from engine.denoising.state import DenoisingState
from engine.job import Job
from engine.limits import BUCKETS, BatchLimits, FairQueue, kind, pick
from tests.conftest import make_request


def job(served_at: float, *, rows: int = 2, side: int = 64, model: str = "embedded") -> Job:
    request = make_request(width=side, height=side, model=model)
    state = DenoisingState(
        latents=torch.zeros(1, 4, side // 4, side // 4),
        embeds=torch.zeros(rows, 77, 8),
        guidance_scale=3.0,
        scheduler=None,
        timesteps=torch.arange(3),
    )
    return Job(request, 0, lambda event: None, served_at=served_at, state=state)


def test_the_one_served_longest_ago_leads_and_its_like_follow() -> None:
    small = [job(3), job(5), job(4)]
    large, other = job(1, side=128), job(2, model="other")
    everybody = [*small, large, other]
    assert pick(everybody, BatchLimits()) == [large]
    assert pick([*small, other], BatchLimits()) == [other]
    assert pick(small, BatchLimits()) == [small[0], small[2], small[1]]
    assert pick([], BatchLimits()) == []


def test_a_pass_is_bounded_by_rows_and_by_pixels() -> None:
    jobs = [job(index) for index in range(6)]
    assert pick(jobs, BatchLimits(rows=5)) == jobs[:2]
    assert pick(jobs, BatchLimits(pixels=6 * 64 * 64)) == jobs[:3]
    assert pick(jobs, BatchLimits(pixels=64)) == jobs[:1], "a single job must always run"


def test_kinds_of_jobs_get_the_same_time() -> None:
    """Long passes of large pictures do not keep small ones waiting, nor the other way round."""
    turns = FairQueue()
    small, large = job(1), job(2, side=1024)
    seconds = {"small": 0.0, "large": 0.0}
    for _ in range(300):
        (chosen,) = turns.pick([small, large], BatchLimits())
        name, took = ("small", 0.1) if chosen is small else ("large", 5.0)
        seconds[name] += took
        turns.took(kind(chosen), took)
    assert seconds["large"] == pytest.approx(seconds["small"], abs=5.1)


def test_who_comes_new_has_no_claim_on_the_time_before() -> None:
    turns = FairQueue()
    old, new = job(1), job(2, side=128)
    for _ in range(50):
        turns.pick([old], BatchLimits())
        turns.took(kind(old), 1.0)
    order = []
    for _ in range(6):
        (chosen,) = turns.pick([old, new], BatchLimits())
        order.append(chosen is new)
        turns.took(kind(chosen), 1.0)
    assert sum(order) in (3, 4)


def test_a_gap_is_filled_by_a_job_that_fits() -> None:
    first, second, single = job(1), job(2), job(3, rows=1)
    assert pick([first, second, single], BatchLimits(rows=3)) == [first, single]


@pytest.mark.parametrize(
    ("rows", "padded"), [(1, 1), (2, 2), (3, 4), (5, 6), (7, 8), (9, 12), (13, 13)]
)
def test_rows_are_padded_to_a_bucket_within_the_limit(rows: int, padded: int) -> None:
    limits = BatchLimits(rows=13, buckets=BUCKETS)
    assert limits.padded(rows, 64 * 64) == padded
    assert BatchLimits(rows=13).padded(rows, 64 * 64) == rows


def test_invariant_passes_of_a_size_have_one_number_of_rows() -> None:
    limits = BatchLimits(rows=8, pixels=4 * 128 * 128, invariant=True)
    assert {limits.padded(rows, 64 * 64) for rows in range(1, 9)} == {8}
    assert {limits.padded(rows, 128 * 128) for rows in range(1, 5)} == {4}
    assert limits.padded(1, 1024 * 1024) == 2
