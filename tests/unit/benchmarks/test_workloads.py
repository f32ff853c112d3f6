"""The workloads are the same every time, and hold what they say."""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from itertools import islice

import PIL.Image
import pytest

from benchmarks.workloads import (
    BLOCK,
    HALF_WAY,
    SEVERAL,
    TYPICAL,
    WARM_UPS,
    WORKLOADS,
    Request,
)


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


@pytest.mark.parametrize("block", [0, 1])
def test_every_block_of_several_has_the_same_models(block: int) -> None:
    requests = take("several", 2 * BLOCK)[block * BLOCK : (block + 1) * BLOCK]
    assert Counter((each.model, each.switch_at) for each in requests) == {
        ("embedded", None): 0.4 * BLOCK,
        ("embedded-xl", None): 0.15 * BLOCK,
        ("embedded-xl", 0.8): 0.15 * BLOCK,
        ("embedded-3", None): 0.3 * BLOCK,
    }
    assert Counter((each.steps, each.guidance, each.side) for each in requests) == Counter(
        (each.steps, each.guidance, each.side) for each in take("mixed", BLOCK)
    )
    flow = {each.scheduler for each in requests if each.model == "embedded-3"}
    assert flow == {"euler"}, "the others do not apply to flow matching"


def test_a_refiner_is_asked_for_where_it_is_to_take_over() -> None:
    requests = take("several", BLOCK)
    for each in requests:
        assert each.body()["model"] == each.model
        assert each.body().get("refiner") == (
            None if each.switch_at is None else {"switch_at": each.switch_at}
        )
    assert {each.kind for each in requests if each.model == "embedded"} >= {"10 steps, 64 px"}
    assert "50 steps, 96 px, embedded-3" in {each.kind for each in requests}


@pytest.mark.parametrize("models", WARM_UPS)
def test_a_warm_up_asks_for_every_model(models: tuple[str, ...]) -> None:
    brief = list(islice(WARM_UPS[models].requests(1), 32))
    asked = {each.model for each in brief}
    asked |= {"embedded-xl-refiner" for each in brief if each.switch_at is not None}
    assert asked == set(models) == set(WORKLOADS[TYPICAL[models]].models)
    assert {each.strength is None for each in brief if each.model == SEVERAL[0]} == {True, False}


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
