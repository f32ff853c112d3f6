"""Stable Diffusion 1 and 2: CLIP text encoder, UNet, KL autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import PIL.Image
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import (
    StableDiffusionImg2ImgPipeline,
)

from engine.request import GenerationRequest
from engine.samplers import SAMPLERS
from engine.state import DenoisingState

# Negative prompts repeat across requests, prompts across seeds; a 77 x 1024 float32 embedding
# takes 315 kB.
CACHED_PROMPTS = 256


class StableDiffusion:
    """Adapts a loaded ``StableDiffusionPipeline``.

    The pipelines' own helpers do the work, so that a request run alone takes the same path as
    the stock pipeline.
    """

    def __init__(self, pipeline: StableDiffusionPipeline) -> None:
        if pipeline.unet.config.time_cond_proj_dim is not None:
            raise ValueError("guidance-distilled UNets (time_cond_proj_dim) are not supported")
        self._txt2img = pipeline
        self._img2img = StableDiffusionImg2ImgPipeline(
            **pipeline.components, requires_safety_checker=False
        )
        self._scheduler_config: Any = pipeline.scheduler.config
        self._device: torch.device = pipeline.unet.device
        self._dtype: torch.dtype = pipeline.unet.dtype
        self._embed = lru_cache(maxsize=CACHED_PROMPTS)(self._encode)

    def _encode(self, text: str) -> torch.Tensor:
        """Embed one text, ``[1, tokens, dim]``."""
        embeds: torch.Tensor = self._txt2img.encode_prompt(
            text, self._device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )[0]
        return embeds

    def prepare(self, request: GenerationRequest) -> DenoisingState:
        embeds = self._embed(request.prompt)
        if request.guidance_scale > 1:
            embeds = torch.cat([self._embed(request.negative_prompt), embeds])
        scheduler = SAMPLERS[request.scheduler].create(self._scheduler_config)
        scheduler.set_timesteps(request.num_inference_steps, device="cpu")
        # The noise is drawn on the CPU, so that a seed gives the same picture on every device.
        generator = torch.Generator("cpu").manual_seed(request.seed)
        if request.init_image is None:
            pipeline: Any = self._txt2img
            pipeline.scheduler = scheduler
            timesteps = scheduler.timesteps
            latents = pipeline.prepare_latents(
                1,
                pipeline.unet.config.in_channels,
                request.height,
                request.width,
                self._dtype,
                self._device,
                generator,
            )
        else:
            pipeline = self._img2img
            pipeline.scheduler = scheduler
            timesteps, _ = pipeline.get_timesteps(
                request.num_inference_steps, request.strength, self._device
            )
            image = PIL.Image.frombytes("RGB", (request.width, request.height), request.init_image)
            latents = pipeline.prepare_latents(
                pipeline.image_processor.preprocess(image),
                timesteps[:1],
                1,
                1,
                self._dtype,
                self._device,
                generator,
            )
        return DenoisingState(
            latents=latents,
            embeds=embeds,
            guidance_scale=request.guidance_scale,
            scheduler=scheduler,
            timesteps=timesteps.cpu(),
            step_kwargs=pipeline.prepare_extra_step_kwargs(generator, eta=0.0),
        )

    def forward(self, states: Sequence[DenoisingState]) -> list[torch.Tensor]:
        samples: list[torch.Tensor] = []
        timesteps: list[torch.Tensor] = []
        for state in states:
            sample = state.scheduler.scale_model_input(state.latents, state.timestep)
            samples += [sample] * state.rows
            timesteps += [state.timestep] * state.rows
        predictions = self._txt2img.unet(
            torch.cat(samples),
            torch.stack([timestep.float() for timestep in timesteps]).to(self._device),
            encoder_hidden_states=torch.cat([state.embeds for state in states]),
            return_dict=False,
        )[0]
        return [
            _guide(rows, state.guidance_scale)
            for rows, state in zip(
                predictions.split([state.rows for state in states]), states, strict=True
            )
        ]

    def decode(self, states: Sequence[DenoisingState]) -> list[PIL.Image.Image]:
        vae = self._txt2img.vae
        latents = torch.cat([state.latents for state in states])
        pixels = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
        pictures: list[PIL.Image.Image] = self._txt2img.image_processor.postprocess(
            pixels, output_type="pil"
        )
        return pictures


def _guide(rows: torch.Tensor, guidance_scale: float) -> torch.Tensor:
    """Classifier-free guidance over ``[2, ...]`` (negative, prompt); one row passes unchanged.

    Ho & Salimans (2022), https://arxiv.org/abs/2207.12598, in the form of Stable Diffusion.
    """
    if len(rows) == 1:
        return rows
    negative, positive = rows.chunk(2)
    return negative + guidance_scale * (positive - negative)
