"""SDXL and its refiner: pictures as the stock pipelines make them, in any batch."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import cycle, product
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch

from contract.request import GenerationRequest
from engine.denoising.samplers import SAMPLERS
from engine.denoising.state import DenoisingState
from engine.limits import BatchLimits
from engine.pipelines.invariant import BatchInvariant
from engine.pipelines.stable_diffusion_xl import StableDiffusionXL
from tests.conftest import make_request
from tests.unit.engine.reference import (
    assert_same_latents,
    assert_same_picture,
    denoise,
    in_channels_last,
    request_for,
    stock,
)
from tests.unit.models import tiny

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

TASKS = ("txt2img", "img2img", "inpaint")
SIDE = 32
# What requests to SDXL may say beside those to Stable Diffusion 1, all different in a pass.
FIELDS: tuple[dict[str, Any], ...] = (
    {"negative_prompt": None},
    {"negative_prompt": "", "original_size": (100, 40), "crop": (3, 7)},
    {"negative_prompt": "a cat", "prompt_2": "a house"},
    {"prompt_2": "a dog", "negative_prompt_2": "a frog", "guidance_rescale": 0.7},
    {"guidance_scale": 1.0, "crop": (0, 12)},
)
Case: TypeAlias = tuple[str, str, dict[str, Any]]
# Every pair of scheduler and task is met, and of both with the fields.
CASES: list[Case] = [
    (*pair, fields) for pair, fields in zip(product(SAMPLERS, TASKS), cycle(FIELDS), strict=False)
]
INPAINT_CASES: list[Case] = [
    (scheduler, "inpaint", fields)
    for scheduler, fields in zip(SAMPLERS, cycle(FIELDS), strict=False)
]
REFINER_FIELDS: tuple[dict[str, Any], ...] = (
    {"negative_prompt": None},
    {"aesthetic_score": 7.5, "negative_aesthetic_score": 1.5, "crop": (5, 6)},
    {"negative_prompt": "", "original_size": (32, 48), "guidance_rescale": 0.5},
)

REFINER_CASES: list[Case] = [
    (*pair, fields)
    for pair, fields in zip(
        product(SAMPLERS, ("img2img", "inpaint")), cycle(REFINER_FIELDS), strict=False
    )
]


@pytest.fixture(scope="module")
def reference() -> Any:
    return in_channels_last(tiny.sdxl(refiner=False))


@pytest.fixture(scope="module")
def model() -> StableDiffusionXL:
    return StableDiffusionXL(tiny.sdxl(refiner=False))


@pytest.fixture(scope="module")
def inpaint_reference() -> Any:
    return in_channels_last(tiny.sdxl_inpainting())


@pytest.fixture(scope="module")
def inpainter() -> StableDiffusionXL:
    return StableDiffusionXL(tiny.sdxl_inpainting())


@pytest.fixture(scope="module")
def refiner_reference() -> Any:
    return in_channels_last(tiny.sdxl(refiner=True))


@pytest.fixture(scope="module")
def refiner() -> StableDiffusionXL:
    return StableDiffusionXL(tiny.sdxl(refiner=True))


def case(
    scheduler: str, task: str, fields: Mapping[str, Any], photo: bytes, **changes: Any
) -> GenerationRequest:
    """A request for a picture of 32 x 32, so that many of them take little time."""
    request = request_for(scheduler, task, photo, **{**fields, **changes})
    small: dict[str, Any] = {"width": SIDE, "height": SIDE}
    if request.init_image is not None:
        small["init_image"] = quarter(request.init_image, 3)
    if request.mask is not None:
        small["mask"] = quarter(request.mask, 1)
    return replace(request, **small)


def quarter(picture: bytes, channels: int) -> bytes:
    """Every second pixel of a picture of 64 x 64."""
    pixels = np.frombuffer(picture, np.uint8).reshape(2 * SIDE, 2 * SIDE, channels)
    return pixels[::2, ::2].tobytes()


@pytest.mark.parametrize(("scheduler", "task", "fields"), CASES)
def test_alone_equals_the_stock_pipeline(
    reference: Any,
    model: StableDiffusionXL,
    photo: bytes,
    scheduler: str,
    task: str,
    fields: dict[str, Any],
) -> None:
    assert_same_latents(model, case(scheduler, task, fields, photo), reference)


@pytest.mark.parametrize("task", ["img2img", "inpaint"])
@pytest.mark.parametrize("scheduler", ["ddim", "euler_a", "heun"])
def test_full_strength_equals_the_stock_pipeline(
    reference: Any, model: StableDiffusionXL, photo: bytes, scheduler: str, task: str
) -> None:
    request = case(scheduler, task, FIELDS[0], photo, strength=1.0)
    assert_same_latents(model, request, reference)


@pytest.mark.parametrize(
    ("scheduler", "strength"), list(zip(SAMPLERS, cycle((0.75, 1.0)), strict=False))
)
def test_a_unet_that_sees_the_mask_equals_the_stock_pipeline(
    inpaint_reference: Any,
    inpainter: StableDiffusionXL,
    photo: bytes,
    scheduler: str,
    strength: float,
) -> None:
    request = case(scheduler, "inpaint", FIELDS[1], photo, strength=strength)
    assert_same_latents(inpainter, request, inpaint_reference)


@pytest.mark.parametrize(("scheduler", "task", "fields"), REFINER_CASES)
def test_a_refiner_alone_equals_the_stock_pipeline(
    refiner_reference: Any,
    refiner: StableDiffusionXL,
    photo: bytes,
    scheduler: str,
    task: str,
    fields: dict[str, Any],
) -> None:
    assert_same_latents(refiner, case(scheduler, task, fields, photo), refiner_reference)


def in_one_batch(model: StableDiffusionXL, cases: list[Case], photo: bytes) -> list[DenoisingState]:
    """The cases, denoised in one batch with requests of other lengths."""
    task = "txt2img" if "txt2img" in model.tasks else "inpaint"
    others = [
        case("euler_a", task, {}, photo, num_inference_steps=3, seed=1, guidance_scale=7.5),
        case("heun", task, {}, photo, guidance_scale=1.0, prompt="a cat", crop=(9, 9)),
        case("unipc", "inpaint", {}, photo, num_inference_steps=9, prompt="a house"),
    ]
    requests = [case(*each, photo) for each in cases]
    states = denoise(model, [*others[:2], *requests, others[2]])
    assert len({state.shape_key for state in states}) == 1
    return states[2:-1]


@pytest.fixture(scope="module")
def batched(model: StableDiffusionXL, photo: bytes) -> list[DenoisingState]:
    return in_one_batch(model, CASES, photo)


@pytest.fixture(scope="module")
def batched_inpainting(inpainter: StableDiffusionXL, photo: bytes) -> list[DenoisingState]:
    return in_one_batch(inpainter, INPAINT_CASES, photo)


@pytest.fixture(scope="module")
def batched_refining(refiner: StableDiffusionXL, photo: bytes) -> list[DenoisingState]:
    return in_one_batch(refiner, REFINER_CASES, photo)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_other_requests_in_the_batch_change_nothing(
    reference: Any,
    model: StableDiffusionXL,
    batched: list[DenoisingState],
    photo: bytes,
    number: int,
) -> None:
    expected = stock(reference, case(*CASES[number], photo), "pil")[0]
    assert_same_picture(model, batched[number], expected)


@pytest.mark.parametrize("number", range(len(INPAINT_CASES)))
def test_other_requests_change_nothing_for_a_unet_that_sees_the_mask(
    inpaint_reference: Any,
    inpainter: StableDiffusionXL,
    batched_inpainting: list[DenoisingState],
    photo: bytes,
    number: int,
) -> None:
    expected = stock(inpaint_reference, case(*INPAINT_CASES[number], photo), "pil")[0]
    assert_same_picture(inpainter, batched_inpainting[number], expected)


@pytest.mark.parametrize("number", range(len(REFINER_CASES)))
def test_other_requests_change_nothing_for_a_refiner(
    refiner_reference: Any,
    refiner: StableDiffusionXL,
    batched_refining: list[DenoisingState],
    photo: bytes,
    number: int,
) -> None:
    expected = stock(refiner_reference, case(*REFINER_CASES[number], photo), "pil")[0]
    assert_same_picture(refiner, batched_refining[number], expected)


@pytest.mark.parametrize(("width", "height"), [(48, 32), (32, 48), (40, 56)])
def test_other_sizes(reference: Any, model: StableDiffusionXL, width: int, height: int) -> None:
    request = make_request(width=width, height=height, num_inference_steps=4)
    (state,) = denoise(model, [request])
    assert_same_picture(model, state, stock(reference, request, "pil")[0])


@pytest.mark.slow
def test_in_blocks_latents_are_the_same_to_the_last_bit(photo: bytes) -> None:
    """Alone, and among all the others in any order."""
    limits = BatchLimits(rows=24, block=8)
    model = BatchInvariant(StableDiffusionXL(tiny.sdxl(refiner=False), invariant=True), limits)
    requests = [case(*each, photo, num_inference_steps=3) for each in CASES]
    alone = [denoise(model, [request])[0].latents for request in requests[::2]]
    order = random.Random(0).sample(range(len(requests)), len(requests))
    states = dict(zip(order, denoise(model, [requests[i] for i in order]), strict=True))
    for index, latents in enumerate(alone):
        assert torch.equal(states[2 * index].latents, latents), CASES[2 * index]
