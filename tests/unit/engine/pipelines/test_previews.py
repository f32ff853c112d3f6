"""Previews: what a running job is going to look like."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from engine.denoising.conditioning import Conditioning
from engine.denoising.guidance import Guidance
from engine.denoising.noise_schedule import NoiseSchedule
from engine.denoising.samplers import SAMPLERS
from engine.denoising.state import DenoisingState
from engine.pipelines.stable_diffusion import StableDiffusion
from tests.conftest import make_request
from tests.unit.engine.reference import advance, decode, prepare

pytestmark = pytest.mark.usefixtures("inference_mode")


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_previews_are_the_picture_in_small(model: StableDiffusion, scheduler: str) -> None:
    (state,) = prepare(model, [make_request(scheduler=scheduler, num_inference_steps=12)])
    previews = [model.preview(state)]
    while not state.finished:
        advance(model, state, leave=state.total - state.index - 1)
        previews.append(model.preview(state))
    (picture,) = decode(model, [state])
    small = picture.resize((16, 16), PIL.Image.Resampling.BOX)
    assert {(preview.size, preview.mode) for preview in previews} == {((16, 16), "RGB")}

    likeness = [
        np.corrcoef(np.asarray(preview).ravel(), np.asarray(small).ravel())[0, 1]
        for preview in previews
    ]
    assert likeness[0] < 0.5, "noise"
    assert min(likeness[len(likeness) // 2 :]) >= 0.7
    assert likeness[-1] >= 0.9


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_predicted_original_is_what_the_scheduler_has_for_it(kind: str) -> None:
    scheduler = DDIMScheduler(prediction_type=kind, clip_sample=False)
    sample, prediction = torch.randn((2, 1, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    schedule = NoiseSchedule(scheduler, 10, torch.Generator())
    state = DenoisingState(
        latents=sample,
        conditioning=Conditioning({"encoder_hidden_states": torch.zeros((1, 77, 8))}),
        guidance=Guidance(1.0),
        schedule=schedule,
    )
    assert torch.equal(state.predicted_original, sample), "before the first prediction"
    state.index = 3
    state.sample, state.prediction = sample, prediction
    expected = scheduler.step(prediction, scheduler.timesteps[3], sample).pred_original_sample
    state.index += 1
    assert torch.allclose(state.predicted_original, expected, atol=1e-5)


def test_previews_change_nothing(model: StableDiffusion) -> None:
    watched, unwatched = prepare(model, [make_request(scheduler="heun", seed=3)] * 2)
    while not watched.finished:
        model.preview(watched)
        for state, prediction in zip(
            (watched, unwatched), model.forward([watched, unwatched], 4), strict=True
        ):
            state.advance(prediction)
    assert torch.allclose(watched.latents, unwatched.latents, atol=1e-4)
