"""Stable Diffusion 1 and 2: CLIP text encoder, UNet, KL autoencoder."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import PIL.Image
import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import (
    StableDiffusionImg2ImgPipeline,
)
from diffusers.utils.torch_utils import randn_tensor

from engine.request import GenerationRequest
from engine.samplers import SAMPLERS
from engine.state import DenoisingState, Repaint

# Decoding takes about 3 kB per pixel in fp32.
VAE_PIXELS = 1024 * 1024


class Picture(NamedTuple):
    """A picture to encode: raw RGB bytes, and the mask (see the request) blanked out, if any."""

    size: tuple[int, int]
    rgb: bytes
    blank: bytes | None = None


class StableDiffusion:
    """Adapts a loaded ``StableDiffusionPipeline`` (or ``StableDiffusionInpaintPipeline``).

    A request run alone gives what the stock pipelines give: the random numbers are drawn in
    their order, all on the CPU, so that a seed gives the same picture on every device.

    Args:
        pipeline: its modules are used as they are, but laid out in channels_last.
        vae_pixels: the picture encoder and decoder take pictures one by one where a batch has
            more pixels than this, and in tiles where a single picture has.

    Raises:
        ValueError: the UNet takes other inputs than latents, or latents, mask and masked picture.
    """

    def __init__(self, pipeline: Any, *, vae_pixels: int = VAE_PIXELS) -> None:
        self._unet = pipeline.unet.to(memory_format=torch.channels_last)
        self._vae = pipeline.vae.to(memory_format=torch.channels_last)
        channels = self._vae.config.latent_channels
        if self._unet.config.time_cond_proj_dim is not None:
            raise ValueError("guidance-distilled UNets (time_cond_proj_dim) are not supported")
        if self._unet.config.in_channels not in (channels, 2 * channels + 1):
            raise ValueError(
                f"UNets of {self._unet.config.in_channels} channels over {channels}-channel "
                "latents are not supported"
            )
        self._channels = channels
        self._sees_mask = self._unet.config.in_channels != channels
        self._txt2img = StableDiffusionPipeline(
            **pipeline.components, requires_safety_checker=False
        )
        self._img2img = StableDiffusionImg2ImgPipeline(
            **pipeline.components, requires_safety_checker=False
        )
        self._masks = VaeImageProcessor(
            vae_scale_factor=pipeline.vae_scale_factor,
            do_normalize=False,
            do_binarize=True,
            do_convert_grayscale=True,
        )
        self._scheduler_config: Any = pipeline.scheduler.config
        self._device: torch.device = pipeline.unet.device
        self._dtype: torch.dtype = pipeline.unet.dtype
        self._vae_pixels = vae_pixels

    def prepare(self, requests: Sequence[GenerationRequest]) -> list[DenoisingState]:
        for request in requests:
            if self._sees_mask and request.mask is None:
                raise ValueError(f"{request.model} can only inpaint: the request has no mask")
        embeds = self._embed(requests)
        encoded = self._encode([picture for each in requests for picture in self._pictures(each)])
        return [
            self._start(request, rows, encoded)
            for request, rows in zip(requests, embeds, strict=True)
        ]

    def _embed(self, requests: Sequence[GenerationRequest]) -> list[torch.Tensor]:
        texts: dict[str, torch.Tensor | None] = {}
        for request in requests:
            texts[request.prompt] = None
            if request.guidance_scale > 1:
                texts[request.negative_prompt] = None
        embeds = self._txt2img.encode_prompt(list(texts), self._device, 1, False)[0]
        by_text = dict(zip(texts, embeds.split(1), strict=True))
        return [
            torch.cat([by_text[request.negative_prompt], by_text[request.prompt]])
            if request.guidance_scale > 1
            else by_text[request.prompt]
            for request in requests
        ]

    def _pictures(self, request: GenerationRequest) -> list[Picture]:
        """What the stock pipelines encode for this request and look at, in their order."""
        if request.init_image is None:
            return []
        size = (request.width, request.height)
        init = Picture(size, request.init_image)
        if request.mask is None or not self._sees_mask:
            return [init]
        masked = Picture(size, request.init_image, request.mask)
        # Pure noise is all that is left of the picture at full strength.
        return [masked] if request.strength == 1 else [init, masked]

    def _encode(self, pictures: Sequence[Picture]) -> dict[Picture, DiagonalGaussianDistribution]:
        """Encode what differs, pictures of one size in one batch.

        Masked pictures have a batch of their own, so that for one request alone each call is the
        stock pipeline's: kernels round otherwise for other batch sizes.
        """
        encoded: dict[Picture, DiagonalGaussianDistribution] = {}
        groups: dict[Hashable, list[Picture]] = {}
        for picture in dict.fromkeys(pictures):
            groups.setdefault((picture.size, picture.blank is None), []).append(picture)
        for group in groups.values():
            self._bound_vae(len(group), math.prod(group[0].size))
            pixels = torch.cat([self._pixels(picture) for picture in group])
            posterior = self._vae.encode(pixels.to(self._device, self._dtype)).latent_dist
            for picture, parameters in zip(group, posterior.parameters.split(1), strict=True):
                encoded[picture] = DiagonalGaussianDistribution(parameters)
        return encoded

    def _pixels(self, picture: Picture) -> torch.Tensor:
        """``[1, 3, height, width]`` in [-1, 1], grey where it is blanked out."""
        image = PIL.Image.frombytes("RGB", picture.size, picture.rgb)
        pixels: torch.Tensor = self._img2img.image_processor.preprocess(image)
        if picture.blank is not None:
            pixels = pixels * (self._mask(picture.size, picture.blank) < 0.5)
        return pixels

    def _mask(self, size: tuple[int, int], mask: bytes) -> torch.Tensor:
        """``[1, 1, height, width]`` in pixels: 1 where it is painted anew, else 0."""
        binary: torch.Tensor = self._masks.preprocess(PIL.Image.frombytes("L", size, mask))
        return binary

    def _start(
        self,
        request: GenerationRequest,
        embeds: torch.Tensor,
        encoded: dict[Picture, DiagonalGaussianDistribution],
    ) -> DenoisingState:
        """Draw the noise and lay out the schedule."""
        size = (request.width, request.height)
        scheduler = SAMPLERS[request.scheduler].create(self._scheduler_config)
        scheduler.set_timesteps(request.num_inference_steps, device="cpu")
        generator = torch.Generator("cpu").manual_seed(request.seed)
        scale = self._txt2img.vae_scale_factor
        shape = (1, self._channels, request.height // scale, request.width // scale)
        timesteps = scheduler.timesteps
        conditioning = repaint = image = None

        def draw() -> torch.Tensor:
            return randn_tensor(shape, generator, self._device, self._dtype)

        def sample(picture: Picture) -> torch.Tensor:
            return encoded[picture].sample(generator) * self._vae.config.scaling_factor

        pictures = self._pictures(request)
        if request.init_image is not None:
            self._img2img.scheduler = scheduler
            timesteps, _ = self._img2img.get_timesteps(
                request.num_inference_steps, request.strength, "cpu"
            )
            if pictures[0].blank is None:
                image = sample(pictures[0])
        noise = draw()
        if image is None or (request.mask is not None and request.strength == 1):
            latents = noise * scheduler.init_noise_sigma
        else:
            latents = scheduler.add_noise(image, noise, timesteps[:1])
        if request.mask is not None:
            mask = torch.nn.functional.interpolate(self._mask(size, request.mask), shape[2:])
            mask = mask.to(self._device, self._dtype)
            if self._sees_mask:
                conditioning = torch.cat([mask, sample(pictures[-1])], dim=1)
            else:
                # The stock pipeline encodes the masked picture here too and never looks at it,
                # but some schedulers go on drawing where that has stopped.
                draw()
                assert image is not None
                repaint = Repaint(mask, image, noise)
        self._txt2img.scheduler = scheduler
        return DenoisingState(
            latents=latents,
            embeds=embeds,
            guidance_scale=request.guidance_scale,
            scheduler=scheduler,
            timesteps=timesteps,
            step_kwargs=self._txt2img.prepare_extra_step_kwargs(generator, eta=0.0),
            conditioning=conditioning,
            repaint=repaint,
        )

    def forward(self, states: Sequence[DenoisingState], rows: int) -> list[torch.Tensor]:
        samples: list[torch.Tensor] = []
        timesteps: list[float] = []
        embeds = [state.embeds for state in states]
        for state in states:
            sample = state.scheduler.scale_model_input(state.latents, state.timestep)
            if state.conditioning is not None:
                sample = torch.cat([sample, state.conditioning], dim=1)
            samples += [sample] * state.rows
            timesteps += [state.timestep.item()] * state.rows
        padding = rows - len(samples)
        if padding > 0:
            samples += samples[:1] * padding
            timesteps += timesteps[:1] * padding
            embeds.append(embeds[0][:1].expand(padding, -1, -1))
        predictions = self._unet(
            torch.cat(samples),
            torch.tensor(timesteps, dtype=torch.float32).to(self._device, non_blocking=True),
            encoder_hidden_states=torch.cat(embeds),
            return_dict=False,
        )[0]
        return [
            _guide(prediction, state.guidance_scale)
            for prediction, state in zip(
                predictions.split([each.shape[0] for each in embeds]), states, strict=False
            )
        ]

    def decode(self, states: Sequence[DenoisingState]) -> list[PIL.Image.Image]:
        latents = torch.cat([state.latents for state in states])
        scale = self._txt2img.vae_scale_factor
        self._bound_vae(len(states), latents.shape[2] * latents.shape[3] * scale**2)
        pixels = self._vae.decode(latents / self._vae.config.scaling_factor, return_dict=False)[0]
        pictures: list[PIL.Image.Image] = self._txt2img.image_processor.postprocess(
            pixels, output_type="pil"
        )
        return pictures

    def preview(self, state: DenoisingState) -> PIL.Image.Image:
        raise NotImplementedError

    def _bound_vae(self, pictures: int, pixels: int) -> None:
        """Prepare the VAE for a batch of pictures of so many pixels each."""
        if pictures * pixels > self._vae_pixels:
            self._vae.enable_slicing()
        else:
            self._vae.disable_slicing()
        if pixels > self._vae_pixels:
            self._vae.enable_tiling()
        else:
            self._vae.disable_tiling()


def _guide(rows: torch.Tensor, guidance_scale: float) -> torch.Tensor:
    """Classifier-free guidance over ``[2, ...]`` (negative, prompt); one row passes unchanged.

    Ho & Salimans (2022), https://arxiv.org/abs/2207.12598, in the form of Stable Diffusion.
    """
    if len(rows) == 1:
        return rows
    negative, positive = rows.chunk(2)
    return negative + guidance_scale * (positive - negative)
