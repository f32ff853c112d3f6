"""The picture depends on the request alone: as the stock pipelines make it, in any batch."""

from __future__ import annotations

from itertools import cycle, product
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint import (
    StableDiffusionInpaintPipeline,
)

from engine.denoising.samplers import SAMPLERS
from engine.denoising.state import DenoisingState
from engine.pipelines.stable_diffusion import StableDiffusion
from tests.conftest import ROOT, make_request
from tests.unit.engine.reference import (
    assert_same_latents,
    assert_same_picture,
    decode,
    denoise,
    in_channels_last,
    request_for,
    stock,
)
from tests.unit.models import tiny

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

TASKS = ("txt2img", "img2img", "inpaint")
CASES = list(product(SAMPLERS, TASKS))
GUIDANCE = (1.0, 3.0)
# Every pair of scheduler, task and guidance is met; not every three of them.
PAIRS = [(*case, scale) for case, scale in zip(CASES, cycle(GUIDANCE), strict=False)]
# A UNet of nine channels has another input: what goes on around it is tested with four.
NINE_CHANNELS = [
    (scheduler, *rest)
    for scheduler, rest in zip(SAMPLERS, cycle(product(GUIDANCE, (0.75, 1.0))), strict=False)
]


@pytest.fixture(scope="module")
def reference() -> StableDiffusionPipeline:
    """The embedded model as diffusers loads it, in modules that no model has touched."""
    return in_channels_last(
        StableDiffusionPipeline.from_pretrained(
            ROOT / "models" / "embedded", local_files_only=True, dtype=torch.float32
        )
    )


@pytest.fixture(scope="module")
def inpaint_reference() -> StableDiffusionInpaintPipeline:
    return in_channels_last(tiny.inpainting())


@pytest.fixture(scope="module")
def inpainter() -> StableDiffusion:
    """A UNet of nine channels, random weights."""
    return StableDiffusion(tiny.inpainting())


@pytest.mark.parametrize(("scheduler", "task", "guidance_scale"), PAIRS)
def test_alone_equals_the_stock_pipeline(
    reference: Any,
    model: StableDiffusion,
    photo: bytes,
    scheduler: str,
    task: str,
    guidance_scale: float,
) -> None:
    request = request_for(scheduler, task, photo, guidance_scale=guidance_scale)
    assert_same_latents(model, request, reference)


@pytest.mark.parametrize("scheduler", SAMPLERS)
@pytest.mark.parametrize("task", ["img2img", "inpaint"])
def test_full_strength_equals_the_stock_pipeline(
    reference: Any, model: StableDiffusion, photo: bytes, scheduler: str, task: str
) -> None:
    """Inpainting then starts from pure noise, img2img from the picture with the most noise."""
    assert_same_latents(model, request_for(scheduler, task, photo, strength=1.0), reference)


@pytest.mark.parametrize(("scheduler", "guidance_scale", "strength"), NINE_CHANNELS)
def test_a_unet_that_sees_the_mask_equals_the_stock_pipeline(
    inpaint_reference: Any,
    inpainter: StableDiffusion,
    photo: bytes,
    scheduler: str,
    guidance_scale: float,
    strength: float,
) -> None:
    request = request_for(
        scheduler, "inpaint", photo, guidance_scale=guidance_scale, strength=strength
    )
    assert_same_latents(inpainter, request, inpaint_reference)


@pytest.fixture(scope="module")
def batched(model: StableDiffusion, photo: bytes) -> dict[tuple[str, str], DenoisingState]:
    """Every case, denoised in one batch with all the others and with requests of other lengths."""
    requests = [request_for(scheduler, task, photo) for scheduler, task in CASES]
    others = [
        make_request(scheduler="euler_a", num_inference_steps=3, guidance_scale=7.5, seed=1),
        make_request(scheduler="heun", num_inference_steps=5, guidance_scale=1.0, prompt="a cat"),
        request_for("unipc", "img2img", photo, num_inference_steps=9, prompt="a house"),
        request_for("lcm", "inpaint", photo, num_inference_steps=6, seed=5),
    ]
    states = denoise(model, [*others[:2], *requests, *others[2:]])
    assert len({state.shape_key for state in states}) == 1
    return dict(zip(CASES, states[2:-2], strict=True))


@pytest.mark.parametrize(("scheduler", "task"), CASES)
def test_other_requests_in_the_batch_change_nothing(
    reference: Any,
    model: StableDiffusion,
    batched: dict[tuple[str, str], DenoisingState],
    photo: bytes,
    scheduler: str,
    task: str,
) -> None:
    expected = stock(reference, request_for(scheduler, task, photo), "pil")[0]
    assert_same_picture(model, batched[scheduler, task], expected)


@pytest.fixture(scope="module")
def batched_inpainting(inpainter: StableDiffusion, photo: bytes) -> dict[str, DenoisingState]:
    """Every scheduler, in one batch with all the others, for the UNet of nine channels."""
    requests = [request_for(scheduler, "inpaint", photo) for scheduler in SAMPLERS]
    first = request_for("euler_a", "inpaint", bytes(len(photo)), num_inference_steps=3, seed=1)
    last = request_for("heun", "inpaint", photo, guidance_scale=1.0, strength=1.0)
    states = denoise(inpainter, [first, *requests, last])
    return dict(zip(SAMPLERS, states[1:-1], strict=True))


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_other_requests_change_nothing_for_a_unet_that_sees_the_mask(
    inpaint_reference: Any,
    inpainter: StableDiffusion,
    batched_inpainting: dict[str, DenoisingState],
    photo: bytes,
    scheduler: str,
) -> None:
    expected = stock(inpaint_reference, request_for(scheduler, "inpaint", photo), "pil")[0]
    assert_same_picture(inpainter, batched_inpainting[scheduler], expected)


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 96), (104, 72)])
def test_other_sizes(reference: Any, model: StableDiffusion, width: int, height: int) -> None:
    request = make_request(width=width, height=height, num_inference_steps=4)
    (state,) = denoise(model, [request])
    assert_same_picture(model, state, stock(reference, request, "pil")[0])


def test_what_is_not_painted_stays(model: StableDiffusion, photo: bytes) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = 255
    request = make_request(init_image=photo, mask=mask.tobytes(), strength=1.0, scheduler="euler_a")
    (state,) = denoise(model, [request])
    with torch.inference_mode():
        (picture,) = decode(model, [state])
    given = np.frombuffer(photo, np.uint8).reshape(64, 64, 3).astype(int)
    difference = np.abs(np.asarray(picture).astype(int) - given).mean(axis=(0, 2))
    assert difference[:24].mean() < 10
    assert difference[40:].mean() > 20


def test_the_seed_decides_the_picture(model: StableDiffusion) -> None:
    first, again, other = denoise(model, [make_request(seed=seed) for seed in (1, 1, 2)])
    assert torch.allclose(first.latents, again.latents, atol=1e-4)
    assert (first.latents - other.latents).abs().max() > 1
