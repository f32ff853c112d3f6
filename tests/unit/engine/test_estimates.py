"""What a pass counts, after it took so long."""

from __future__ import annotations

import pytest

from engine.estimates import COUNTED_AT_LEAST, Estimates
from engine.plan import SizeRows


def size(rows: int, side: int = 64) -> SizeRows:
    return SizeRows(("embedded", side, side), side, rows, 1.0, rows)


def took(estimates: Estimates, rows: int, seconds: float, side: int = 64) -> float:
    """Carry out a pass; returns the seconds that it counts."""
    sizes = [size(rows, side)]
    estimates.denoised(sizes, rows, seconds)
    return estimates.counted(sizes, seconds)


def test_rows_count_as_what_they_take_in_the_passes_in_which_they_are_cheapest() -> None:
    estimates = Estimates()
    assert took(estimates, 2, 0.020) == pytest.approx(0.020), "no other passes are known"
    assert took(estimates, 32, 0.100) == pytest.approx(0.100)
    assert took(estimates, 2, 0.020) == pytest.approx(2 * 0.100 / 32, rel=0.02)
    assert took(estimates, 2, 0.020, side=128) == pytest.approx(0.020), "of another size"


def test_a_pass_counts_a_part_of_its_time_at_least_and_never_more() -> None:
    estimates = Estimates()
    took(estimates, 32, 0.020)
    assert took(estimates, 1, 0.020) == pytest.approx(COUNTED_AT_LEAST * 0.020)
    assert took(estimates, 2, 0.001) == pytest.approx(0.001)


def test_full_passes_of_long_ago_say_nothing() -> None:
    estimates = Estimates()
    took(estimates, 32, 0.100)
    for _ in range(200):
        counted = took(estimates, 2, 0.020)
    assert counted == pytest.approx(0.020)


def test_in_a_pass_of_several_sizes_each_row_counts_for_its_own() -> None:
    estimates = Estimates()
    took(estimates, 32, 0.100)
    took(estimates, 8, 0.200, side=128)
    mixed = [size(2), size(2, 128)]
    assert estimates.counted(mixed, 0.08) == pytest.approx(2 * 0.1 / 32 + 2 * 0.2 / 8)
