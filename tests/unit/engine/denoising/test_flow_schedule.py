"""The noise schedule of flow matching: as the stock pipelines of Stable Diffusion 3 lay it out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3_img2img import (
    StableDiffusion3Img2ImgPipeline,
)

from contract.request import Segment
from engine.denoising.flow_schedule import FlowSchedule, dynamic_shift
from engine.denoising.samplers import FLOW_SAMPLERS

CONFIG = {"shift": 3.0}


def schedule(name: str, steps: int, **changes: Any) -> FlowSchedule:
    return FlowSchedule(FLOW_SAMPLERS[name].create(CONFIG), steps, torch.Generator(), **changes)


def timesteps(of: FlowSchedule) -> list[float]:
    return [of.timestep(index) for index in range(of.total)]


@pytest.mark.parametrize("name", FLOW_SAMPLERS)
@pytest.mark.parametrize(("steps", "strength"), [(28, 0.6), (5, 0.15), (10, 0.3), (4, 1.0)])
def test_strength_cuts_as_the_stock_pipeline_does(name: str, steps: int, strength: float) -> None:
    stock = SimpleNamespace(scheduler=FLOW_SAMPLERS[name].create(CONFIG))
    stock.scheduler.set_timesteps(steps)
    expected, _ = StableDiffusion3Img2ImgPipeline.get_timesteps(stock, steps, strength, "cpu")
    assert timesteps(schedule(name, steps, strength=strength)) == expected.tolist()


def test_it_rounds_other_than_for_models_before() -> None:
    assert schedule("euler", 28, strength=0.6).total == 17
    assert schedule("euler", 5, strength=0.15).total == 1


def test_two_segments_are_the_whole() -> None:
    whole = timesteps(schedule("euler", 10))
    first = timesteps(schedule("euler", 10, segment=Segment("one", 0.0, 0.4)))
    second = timesteps(schedule("euler", 10, segment=Segment("two", 0.4, 1.0)))
    assert first + second == whole
    assert first
    assert second


@pytest.mark.parametrize("name", FLOW_SAMPLERS)
def test_renoising_is_that_of_the_scheduler(name: str) -> None:
    ours = schedule(name, 8, strength=0.75)
    theirs = FLOW_SAMPLERS[name].create(CONFIG)
    theirs.set_timesteps(8)
    theirs.set_begin_index(ours.offset)
    image, noise = torch.randn((2, 1, 16, 8, 8), generator=torch.Generator().manual_seed(1))
    for index in range(3):
        moment = theirs.timesteps[ours.offset + index : ours.offset + index + 1]
        expected = theirs.scale_noise(image, moment, noise)
        assert torch.equal(ours.renoise(image, noise, index), expected)
        theirs.step(noise, moment[0], image)


@pytest.mark.parametrize("name", FLOW_SAMPLERS)
def test_a_perfect_prediction_foresees_the_picture(name: str) -> None:
    ours = schedule(name, 6)
    image, noise = torch.randn((2, 1, 16, 8, 8), generator=torch.Generator().manual_seed(1))
    latents = ours.start(noise)
    for index in range(ours.total):
        foreseen = ours.predict_original(noise - image, latents, index)
        assert torch.allclose(foreseen, image, atol=1e-5)
        latents = ours.step(noise - image, latents, index)
    assert torch.allclose(latents, image, atol=1e-5)


def test_a_large_picture_has_more_steps_in_the_noise() -> None:
    config = FLOW_SAMPLERS["euler"].create({"use_dynamic_shifting": True}).config
    small, large = (
        FlowSchedule(
            FLOW_SAMPLERS["euler"].create(config),
            10,
            torch.Generator(),
            mu=dynamic_shift(config, tokens),
        )
        for tokens in (256, 4096)
    )
    assert all(a < b for a, b in zip(timesteps(small)[1:], timesteps(large)[1:], strict=True))


def test_a_schedule_that_is_the_same_for_all_sizes_is_not_shifted_by_them() -> None:
    assert dynamic_shift(FLOW_SAMPLERS["euler"].create(CONFIG).config, 4096) is None
