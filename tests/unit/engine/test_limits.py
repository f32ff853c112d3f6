"""The limits of a pass, and how they change where memory runs out."""

from __future__ import annotations

import pytest

from engine.limits import BUCKETS, RECOVERY_PASSES, BatchLimits, RowBounds


@pytest.mark.parametrize(
    ("rows", "padded"), [(1, 1), (2, 2), (3, 4), (5, 6), (7, 8), (9, 12), (13, 13)]
)
def test_rows_are_padded_to_a_bucket_within_the_limit(rows: int, padded: int) -> None:
    limits = BatchLimits(rows=13, buckets=BUCKETS)
    assert limits.padded(rows, 64 * 64) == padded
    assert BatchLimits(rows=13).padded(rows, 64 * 64) == rows


def test_only_the_last_block_is_padded() -> None:
    limits = BatchLimits(rows=20, pixels=4 * 128 * 128, block=8)
    assert [limits.padded(rows, 64 * 64) for rows in (1, 8, 9, 16)] == [8, 8, 16, 16]
    assert limits.capacity(64 * 64) == 16, "whole blocks"
    assert limits.block_rows(128 * 128) == limits.capacity(128 * 128) == 4
    assert limits.block_rows(1024 * 1024) == limits.padded(1, 1024 * 1024) == 2


def test_a_model_may_have_pixels_of_its_own() -> None:
    limits = BatchLimits(rows=32, pixels=8 * 64 * 64, own_pixels={"large": 2 * 64 * 64})
    assert limits.of("large").capacity(64 * 64) == 2
    assert limits.of("small").capacity(64 * 64) == limits.capacity(64 * 64) == 8


def test_a_pass_that_did_not_fit_bounds_its_shape_alone() -> None:
    bounds = RowBounds()
    bounds.overflowed("large", 20)
    assert bounds.capacity("large", 32) == 10
    assert bounds.capacity("small", 32) == 32
    bounds.overflowed("large", 1)
    assert bounds.capacity("large", 32) == 1


def test_a_bound_recovers_when_full_passes_fit() -> None:
    bounds = RowBounds()
    bounds.overflowed("shape", 20)
    for _ in range(10 * RECOVERY_PASSES):
        bounds.fitted("shape", 4, 32)
    assert bounds.capacity("shape", 32) == 10, "passes with room to spare say nothing"
    for _ in range(RECOVERY_PASSES):
        bounds.fitted("shape", 9, 32)
    assert bounds.capacity("shape", 32) == 20
    for _ in range(RECOVERY_PASSES):
        bounds.fitted("shape", 20, 32)
    assert bounds.capacity("shape", 32) == 32
