"""The noise schedule of one job: as the stock pipelines cut it, and the same in every precision."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img import (
    StableDiffusionXLImg2ImgPipeline,
)

from contract.request import Segment
from engine.denoising.noise_schedule import NoiseSchedule
from engine.denoising.samplers import SAMPLERS
from engine.pipelines.stable_diffusion import StableDiffusion
from tests.conftest import make_request
from tests.unit.engine.reference import prepare
from tests.unit.models import tiny


def create(name: str) -> Any:
    return SAMPLERS[name].create({"beta_schedule": "scaled_linear", "steps_offset": 1})


def schedule(name: str, steps: int, **changes: Any) -> NoiseSchedule:
    return NoiseSchedule(create(name), steps, torch.Generator(), **changes)


def timesteps(of: NoiseSchedule) -> list[float]:
    return [of.timestep(index) for index in range(of.total)]


@pytest.mark.parametrize("start", [0.3, 0.8])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_later_segment_is_cut_as_by_the_stock_refiner(name: str, start: float) -> None:
    stock = SimpleNamespace(scheduler=create(name))
    stock.scheduler.set_timesteps(10)
    expected, _ = StableDiffusionXLImg2ImgPipeline.get_timesteps(
        stock, 10, 1.0, "cpu", denoising_start=start
    )
    ours = schedule(name, 10, segment=Segment("refiner", start, 1.0))
    assert timesteps(ours) == expected.tolist()


@pytest.mark.parametrize("name", ["ddim", "euler", "dpmpp_2m", "lcm"])
def test_two_segments_are_the_whole(name: str) -> None:
    whole = timesteps(schedule(name, 10))
    first = timesteps(schedule(name, 10, segment=Segment("base", 0.0, 0.7)))
    second = timesteps(schedule(name, 10, segment=Segment("refiner", 0.7, 1.0)))
    assert first + second == whole
    assert first
    assert second


@pytest.mark.parametrize("name", SAMPLERS)
def test_renoising_is_that_of_the_scheduler(name: str) -> None:
    ours = schedule(name, 8, strength=0.75)
    theirs = create(name)
    theirs.set_timesteps(8)
    if hasattr(theirs, "set_begin_index"):
        theirs.set_begin_index(ours.offset)
    image, noise = torch.randn((2, 1, 4, 8, 8), generator=torch.Generator().manual_seed(1))
    moment = theirs.timesteps[ours.offset : ours.offset + 1]
    expected = theirs.add_noise(image, noise, moment)
    assert torch.equal(ours.start(noise, image), expected)


class Elsewhere(torch.Tensor):
    """Stands for a tensor on another device: it must not reach the scheduler's own state."""


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_a_scheduler_keeps_is_never_given_the_latents_of_the_device(name: str) -> None:
    """With them, ``add_noise`` moves its tables to their device, and each later look waits."""
    scheduler = create(name)
    given: list[torch.Tensor] = []
    add_noise = scheduler.add_noise

    def noting(image: torch.Tensor, noise: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
        given.extend((image, noise))
        result: torch.Tensor = add_noise(image, noise, moment)
        return result

    scheduler.add_noise = noting
    ours = NoiseSchedule(scheduler, 8, torch.Generator(), strength=0.5)
    latents = torch.zeros(1, 4, 8, 8).as_subclass(Elsewhere)
    ours.start(latents, latents)
    ours.renoise(latents, latents, 1)
    assert given
    assert not any(isinstance(tensor, Elsewhere) for tensor in given)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("task", ["txt2img", "img2img"])
def test_a_seed_gives_the_same_noise_in_every_precision(
    dtype: torch.dtype, task: str, photo: bytes
) -> None:
    changes = {} if task == "txt2img" else {"init_image": photo, "strength": 1.0}
    request = make_request(scheduler="euler_a", num_inference_steps=4, **changes)
    full, half = tiny.stable_diffusion(), tiny.stable_diffusion()
    half.to(dtype)
    with torch.inference_mode():
        (expected,) = prepare(StableDiffusion(full), [request])
        (state,) = prepare(StableDiffusion(half), [request])
        # The picture's own latents are rounded by the encoder; its noise is not.
        tolerance = 0.0 if task == "txt2img" else 0.2
        assert torch.allclose(state.latents, expected.latents, rtol=0, atol=tolerance)
        prediction = torch.zeros_like(state.latents)
        for each in (state, expected):
            each.scaled_latents()
            each.advance(prediction)
        assert torch.allclose(state.latents, expected.latents, rtol=0, atol=tolerance)
    assert state.latents.dtype == torch.float32
