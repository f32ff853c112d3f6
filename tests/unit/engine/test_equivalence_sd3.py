"""Stable Diffusion 3 and 3.5: pictures as the stock pipelines make them, in any batch."""

from __future__ import annotations

import random
from itertools import cycle, product
from typing import Any, TypeAlias

import pytest
import torch

from engine.denoising.samplers import FLOW_SAMPLERS
from engine.denoising.state import DenoisingState
from engine.limits import BatchLimits
from engine.pipelines.invariant import BatchInvariant
from engine.pipelines.stable_diffusion_3 import StableDiffusion3
from tests.conftest import make_request
from tests.effort import only_in_full
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
KINDS: dict[str, dict[str, Any]] = {
    "with T5": {"t5": True},
    "without T5": {},
    "3.5": {"t5": True, "newer": True},
}
SKIPS: dict[str, Any] = {"skip_layers": (1, 3), "skip_layer_end": 0.7, "num_inference_steps": 6}
# What requests to Stable Diffusion 3 may say, all different in a pass.
FIELDS: tuple[dict[str, Any], ...] = (
    {"negative_prompt": None, **SKIPS},
    {"prompt_2": "a house", "negative_prompt_3": "a frog"},
    {"prompt_3": "a dog", "negative_prompt_2": "a tree", "num_inference_steps": 4},
    {"guidance_scale": 1.0, **SKIPS},
    {"skip_layers": (0, 2), "skip_layer_scale": 1.0, "skip_layer_start": 0.3, "skip_layer_end": 1},
)
Case: TypeAlias = tuple[str, str, dict[str, Any]]


def cases(kind: str) -> list[Case]:
    """Every sampler with every task, each with some of the fields; from text, with all of them."""
    # The schedule of 3.5 here depends on the size of the picture, and Heun's cannot.
    samplers = ["euler"] if kind == "3.5" else list(FLOW_SAMPLERS)
    given = [
        (*pair, fields) for pair, fields in zip(product(samplers, TASKS[1:]), cycle(FIELDS[1:]))
    ]
    return [*given, *zip(cycle(samplers), cycle(["txt2img"]), FIELDS)]


ALONE = [(kind, *case) for kind in KINDS for case in cases(kind)]


@pytest.fixture(scope="module")
def references() -> dict[str, Any]:
    return {kind: in_channels_last(tiny.sd3(**options)) for kind, options in KINDS.items()}


@pytest.fixture(scope="module")
def models() -> dict[str, StableDiffusion3]:
    return {kind: StableDiffusion3(tiny.sd3(**options)) for kind, options in KINDS.items()}


@pytest.mark.parametrize(("kind", "scheduler", "task", "fields"), ALONE)
def test_alone_equals_the_stock_pipeline(
    references: dict[str, Any],
    models: dict[str, StableDiffusion3],
    photo: bytes,
    kind: str,
    scheduler: str,
    task: str,
    fields: dict[str, Any],
) -> None:
    assert_same_latents(
        models[kind], request_for(scheduler, task, photo, **fields), references[kind]
    )


@pytest.mark.parametrize("scheduler", FLOW_SAMPLERS)
@pytest.mark.parametrize("task", ["img2img", "inpaint"])
@pytest.mark.parametrize("strength", [1.0, 0.05])
def test_any_strength_equals_the_stock_pipeline(
    references: dict[str, Any],
    models: dict[str, StableDiffusion3],
    photo: bytes,
    scheduler: str,
    task: str,
    strength: float,
) -> None:
    """Other numbers of steps than with Stable Diffusion 1: one where that has none."""
    request = request_for(scheduler, task, photo, strength=strength, num_inference_steps=7)
    assert_same_latents(models["without T5"], request, references["without T5"])


@pytest.mark.parametrize("scheduler", FLOW_SAMPLERS)
@pytest.mark.parametrize("strength", [1.0, 0.7])
def test_a_transformer_that_sees_the_mask_equals_the_stock_pipeline(
    photo: bytes, scheduler: str, strength: float
) -> None:
    model = StableDiffusion3(tiny.sd3(channels=33))
    reference = in_channels_last(tiny.sd3(channels=33))
    request = request_for(scheduler, "inpaint", photo, strength=strength)
    assert_same_latents(model, request, reference)
    (state,) = denoise(model, [request])
    assert_same_picture(model, state, stock(reference, request, "pil")[0])


@pytest.mark.parametrize(("width", "height"), [(48, 64), (64, 96), (4, 4)])
@pytest.mark.parametrize("kind", ["without T5", "3.5"])
def test_other_sizes(
    references: dict[str, Any],
    models: dict[str, StableDiffusion3],
    kind: str,
    width: int,
    height: int,
) -> None:
    request = make_request(width=width, height=height, num_inference_steps=4, scheduler="euler")
    (state,) = denoise(models[kind], [request])
    assert_same_picture(models[kind], state, stock(references[kind], request, "pil")[0])


@pytest.fixture(scope="module")
def batched(models: dict[str, StableDiffusion3], photo: bytes) -> dict[str, list[DenoisingState]]:
    """Every case of each model, denoised in one batch with all the others of that model and with
    requests of other lengths."""
    others = [
        make_request(scheduler="euler", num_inference_steps=3, guidance_scale=7.5, seed=1),
        request_for("euler", "inpaint", photo, num_inference_steps=9, prompt="a house"),
    ]
    finished = {}
    for kind, model in models.items():
        requests = [request_for(*case[:2], photo, **case[2]) for case in cases(kind)]
        states = denoise(model, [others[0], *requests, others[1]])
        assert len({state.shape_key for state in states}) == 1
        finished[kind] = states[1:-1]
    return finished


@pytest.mark.parametrize(
    ("kind", "number"), [(kind, number) for kind in KINDS for number in range(len(cases(kind)))]
)
def test_other_requests_in_the_batch_change_nothing(
    references: dict[str, Any],
    models: dict[str, StableDiffusion3],
    batched: dict[str, list[DenoisingState]],
    photo: bytes,
    kind: str,
    number: int,
) -> None:
    scheduler, task, fields = cases(kind)[number]
    request = request_for(scheduler, task, photo, **fields)
    expected = stock(references[kind], request, "pil")[0]
    assert_same_picture(models[kind], batched[kind][number], expected)


@pytest.mark.slow
@pytest.mark.parametrize("block", [2, pytest.param(8, marks=only_in_full)])
def test_in_blocks_latents_are_the_same_to_the_last_bit(photo: bytes, block: int) -> None:
    """Alone, and among all the others in any order; a job of three rows fills a block of two."""
    limits = BatchLimits(rows=24, block=block)
    model = BatchInvariant(StableDiffusion3(tiny.sd3(**KINDS["3.5"]), invariant=True), limits)
    requests = [request_for(*each[:2], photo, **each[2]) for each in cases("3.5")]
    alone = [denoise(model, [request])[0].latents for request in requests]
    order = random.Random(0).sample(range(len(requests)), len(requests))
    states = dict(zip(order, denoise(model, [requests[i] for i in order]), strict=True))
    for index, latents in enumerate(alone):
        assert torch.equal(states[index].latents, latents), requests[index]
