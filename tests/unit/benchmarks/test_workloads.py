"""The workloads are the same every time, and hold what they say."""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from itertools import islice

import PIL.Image
import pytest

from benchmarks.workloads import BLOCK, HALF_WAY, WORKLOADS, Request


def take(name: str, count: int, seed: int = 1) -> list[Request]:
    return list(islice(WORKLOADS[name].requests(seed), count))


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_seed_stands_for_a_sequence(name: str) -> None:
    assert take(name, 70) == take(name, 70)
    assert take(name, 70) != take(name, 70, seed=2)


@pytest.mark.parametrize("name", WORKLOADS)
def test_seeds_tell_requests_apart(name: str) -> None:
    assert len({request.seed for request in take(name, 1_000)}) == 1_000


def test_uniform_is_one_kind() -> None:
    kinds = {
        (each.steps, each.side, each.guidance, each.scheduler, each.strength, each.leaves_at)
        for each in take("uniform", 50)
    }
    assert kinds == {(20, 64, 7.5, "ddim", None, None)}


@pytest.mark.parametrize("block", [0, 1, 2])
def test_every_block_of_mixed_has_the_same_mix(block: int) -> None:
    requests = take("mixed", 3 * BLOCK)[block * BLOCK : (block + 1) * BLOCK]
    shapes = Counter((each.steps, each.guidance, each.side) for each in requests)
    assert len(shapes) == 12
    assert set(shapes.values()) == {5}
    assert Counter(each.scheduler for each in requests) == {
        "ddim": 20,
        "euler": 20,
        "dpmpp_2m": 20,
    }
    assert sum(each.strength is not None for each in requests) == 0.3 * BLOCK
    assert not any(each.leaves_at for each in requests)


def test_a_fifth_of_the_impatient_leave_half_way() -> None:
    requests = take("impatient", 2 * BLOCK)
    leaves = [each.leaves_at for each in requests if each.leaves_at is not None]
    assert len(leaves) == 0.2 * len(requests)
    assert HALF_WAY[0] <= min(leaves) < max(leaves) <= HALF_WAY[1]


def test_row_steps_are_evaluations_times_rows() -> None:
    by_kind = {
        (each.steps, each.guidance, each.strength): each.row_steps for each in take("mixed", 300)
    }
    assert by_kind[20, 1.0, None] == 20
    assert by_kind[20, 7.5, None] == 40
    assert by_kind[50, 7.5, 0.6] == 60


def test_img2img_starts_from_a_picture_of_its_size() -> None:
    request = next(each for each in take("mixed", BLOCK) if each.strength is not None)
    picture = PIL.Image.open(BytesIO(request.picture()))
    assert picture.size == (request.side, request.side)
    assert request.picture() == request.picture()
