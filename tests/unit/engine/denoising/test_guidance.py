"""Guidance intervals: which steps have guidance, and that the picture is the stock pipeline's."""

from __future__ import annotations

from typing import Any

import PIL.Image
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import (
    StableDiffusionImg2ImgPipeline,
)

from contract.request import GenerationRequest
from engine.denoising.guidance import Guidance
from engine.denoising.samplers import SAMPLERS
from engine.engine import Engine
from engine.pipelines.stable_diffusion import StableDiffusion
from tests.conftest import make_request
from tests.unit.engine import reference
from tests.unit.engine.conftest import Client, Recorder, pixels
from tests.unit.engine.reference import denoise, in_channels_last


def steps(guidance: Guidance, total: int) -> list[int]:
    return [step for step in range(total) if guidance.active(step, total)]


def test_a_step_has_guidance_if_it_lies_within_the_interval() -> None:
    assert steps(Guidance(3.0), 5) == [0, 1, 2, 3, 4]
    assert steps(Guidance(3.0, end=0.6), 5) == [0, 1, 2]
    assert steps(Guidance(3.0, start=0.2, end=0.8), 10) == [2, 3, 4, 5, 6, 7]
    assert steps(Guidance(3.0, end=0.3), 10) == [0, 1, 2], "not a matter of the last bit"
    assert steps(Guidance(3.0, start=0.5, end=0.55), 10) == []
    assert steps(Guidance(1.0), 5) == []


class UntilStep:
    """Makes a stock pipeline guide the first ``last`` steps only, from its callback."""

    def __init__(self, last: int) -> None:
        self.last = last

    def __call__(
        self, pipe: Any, step: int, timestep: int, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        if step + 1 == self.last:
            pipe._guidance_scale = 1.0
            tensors["prompt_embeds"] = tensors["prompt_embeds"].chunk(2)[-1]
        return tensors


@pytest.mark.parametrize("scheduler", ["ddim", "dpmpp_2m", "euler_a", "unipc"])
@pytest.mark.parametrize("strength", [None, 0.5])
def test_it_equals_the_stock_pipeline_with_guidance_switched_off(
    model: StableDiffusion, photo: bytes, scheduler: str, strength: float | None, pipeline: Any
) -> None:
    request = make_request(
        scheduler=scheduler,
        num_inference_steps=10,
        guidance_end=0.7,
        negative_prompt="a cat",
        init_image=None if strength is None else photo,
        strength=strength,
    )
    (state,) = denoise(model, [request])
    # Of the whole schedule: img2img at half strength begins in its middle.
    guided = 7 if strength is None else 2
    expected = stock(pipeline, request, guided)
    difference = (state.latents - expected).abs().max() / expected.abs().max()
    assert difference <= 1e-5


def stock(pipeline: Any, request: GenerationRequest, guided: int) -> torch.Tensor:
    kind: Any = StableDiffusionPipeline
    arguments: dict[str, Any] = {"width": 64, "height": 64}
    if request.init_image is not None:
        kind = StableDiffusionImg2ImgPipeline
        image = PIL.Image.frombytes("RGB", (64, 64), request.init_image)
        arguments = {"image": image, "strength": request.strength}
    scheduler = SAMPLERS[request.scheduler].create(pipeline.scheduler.config)
    components = {**in_channels_last(pipeline).components, "scheduler": scheduler}
    pipe = kind(**components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    latents: torch.Tensor = pipe(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(request.seed),
        output_type="latent",
        callback_on_step_end=UntilStep(guided),
        callback_on_step_end_tensor_inputs=["prompt_embeds"],
        **arguments,
    ).images
    return latents


@pytest.mark.parametrize("rescale", [0.5, 1.0])
def test_rescaled_it_equals_the_stock_pipeline(
    model: StableDiffusion, pipeline: Any, rescale: float
) -> None:
    request = make_request(guidance_scale=7.5, guidance_rescale=rescale, negative_prompt="a cat")
    (state,) = denoise(model, [request])
    expected = reference.stock(
        in_channels_last(pipeline), request, "latent", guidance_rescale=rescale
    )
    difference = (state.latents - expected).abs().max() / expected.abs().max()
    assert difference <= 1e-5


def test_an_interval_in_the_middle_is_two_changes_of_the_rows(
    model: StableDiffusion, engine: Engine, recorder: Recorder
) -> None:
    request = make_request(num_inference_steps=6, guidance_start=0.3, guidance_end=0.8)
    alone = Client(engine, request).image()
    assert recorder.rows == [1, 1, 2, 2, 1, 1]
    neighbours = [
        Client(engine, make_request(num_inference_steps=9, seed=1)),
        Client(engine, make_request(num_inference_steps=4, seed=2, guidance_end=0.5)),
    ]
    together = Client(engine, request)
    assert pixels(together.image()) == pytest.approx(pixels(alone), abs=1)
    for client in neighbours:
        client.image()
    assert max(recorder.batches) > 1


def test_no_interval_is_no_guidance(model: StableDiffusion) -> None:
    (empty,) = denoise(model, [make_request(guidance_start=0.5, guidance_end=0.51)])
    (without,) = denoise(model, [make_request(guidance_scale=1.0)])
    assert torch.allclose(empty.latents, without.latents, atol=1e-4)
