"""Stable Diffusion 1 and 2: CLIP text encoder, UNet, KL autoencoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import PIL.Image
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import (
    StableDiffusionImg2ImgPipeline,
)
from diffusers.utils.torch_utils import randn_tensor

from contract.errors import ErrorCode, RequestError
from contract.request import GenerationRequest
from engine.denoising.samplers import SAMPLERS
from engine.denoising.state import DenoisingState, Repaint
from engine.lora.adapter import Adapter, LoraSet
from engine.lora.loading import load_adapter
from engine.lora.rows import LoraPasses
from engine.pipelines.autoencoder import VAE_PIXELS, Autoencoder, Picture
from engine.pipelines.base import NO_ADAPTERS
from engine.pipelines.prompts import PromptEncoder, level
from models.catalog import Task
from models.lora import LORA_FILE

Compiler: TypeAlias = Callable[[Any], Any]


def eager(unet: Any) -> Any:
    """The compiler that leaves the UNet as it is."""
    return unet


class StableDiffusion:
    """Adapts a loaded ``StableDiffusionPipeline`` or ``StableDiffusionInpaintPipeline``.

    A request run alone gives what the stock pipelines give. To that end its random numbers are
    drawn in their order; and all on the CPU, so that a seed gives the same picture on every
    device.

    Args:
        pipeline: its UNet and VAE are laid out in channels_last.
        vae_pixels: see ``Autoencoder``.
        invariant: encode prompts one by one, so that what ``prepare`` makes of a single request
            cannot depend to the last bit on earlier ones.
        compiler: makes of the UNet what is called in its place, with weights of the same size. The
            UNet itself is kept only if that refers to it.

    Raises:
        ValueError: the UNet takes other inputs than latents, or latents with mask and masked
            picture.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        vae_pixels: int = VAE_PIXELS,
        invariant: bool = False,
        compiler: Compiler = eager,
    ) -> None:
        self._memory = sum(
            parameter.nbytes
            for component in pipeline.components.values()
            if isinstance(component, torch.nn.Module)
            for parameter in component.parameters()
        )
        self._unet = compiler(pipeline.unet.to(memory_format=torch.channels_last))
        self._autoencoder = Autoencoder(pipeline.vae, vae_pixels)
        self._loras = LoraPasses(self._unet, batch_invariant=invariant)
        self._text_encoder = pipeline.text_encoder
        self._prompts = PromptEncoder(
            pipeline.tokenizer, pipeline.text_encoder, batch_invariant=invariant
        )
        # For its methods, which look at the scheduler only: a compiled UNet's original is to go.
        self._schedule = StableDiffusionImg2ImgPipeline(
            **{**dict.fromkeys(pipeline.components), "scheduler": pipeline.scheduler},
            requires_safety_checker=False,
        )
        self._scheduler_config: Any = pipeline.scheduler.config
        if self._unet.config.time_cond_proj_dim is not None:
            raise ValueError("guidance-distilled UNets (time_cond_proj_dim) are not supported")
        seen, channels = self._unet.config.in_channels, self._autoencoder.channels
        if seen not in (channels, 2 * channels + 1):
            raise ValueError(
                f"UNets that see {seen} channels over latents of {channels} are not supported"
            )
        self._sees_mask = seen != channels

    @property
    def tasks(self) -> frozenset[Task]:
        """What the UNet can do; one that sees a mask was trained for nothing else."""
        return frozenset({"inpaint"} if self._sees_mask else {"txt2img", "img2img", "inpaint"})

    @property
    def memory(self) -> int:
        """Bytes of the weights."""
        return self._memory

    def load_adapter(self, folder: Path) -> Adapter:
        return load_adapter(
            folder / LORA_FILE,
            self._unet,
            self._text_encoder,
            device=self._unet.device,
            dtype=self._unet.dtype,
        )

    def prepare(
        self, requests: Sequence[GenerationRequest], adapters: Mapping[str, Adapter] = NO_ADAPTERS
    ) -> list[DenoisingState]:
        for request in requests:
            if self._sees_mask and request.mask is None:
                raise RequestError(
                    ErrorCode.INVALID_REQUEST,
                    f"mask: {request.model} can only inpaint, so it needs a picture and a mask",
                    field="mask",
                )
        loras = self._loras.sets([request.loras for request in requests], adapters)
        prompts = self._embed(requests, loras)
        posteriors = self._autoencoder.encode(
            picture for request in requests for picture in self._pictures(request)
        )
        return [
            self._start(request, lora_set, embeds, warnings, posteriors)
            for request, lora_set, (embeds, warnings) in zip(requests, loras, prompts, strict=True)
        ]

    def _embed(
        self, requests: Sequence[GenerationRequest], loras: Sequence[LoraSet]
    ) -> list[tuple[torch.Tensor, tuple[str, ...]]]:
        """Each request's embeddings ``[rows, tokens, dim]``, and what is to be said of them."""
        fields = [_prompts(request) for request in requests]
        encoded = {
            text_encoder_key: self._prompts.encode(
                (
                    text
                    for texts, each in zip(fields, loras, strict=True)
                    if each.text_encoder_key == text_encoder_key
                    for text in texts.values()
                ),
                lora_set,
            )
            for text_encoder_key, lora_set in {
                each.text_encoder_key: each for each in loras
            }.items()
        }
        embedded = []
        for texts, lora_set in zip(fields, loras, strict=True):
            prompts = encoded[lora_set.text_encoder_key]
            embeds = level([prompts[text].embeds for text in texts.values()], prompts[""].embeds)
            warnings = tuple(
                f"{field} {warning}"
                for field, text in texts.items()
                for warning in prompts[text].warnings
            )
            embedded.append((embeds, warnings))
        return embedded

    def _pictures(self, request: GenerationRequest) -> list[Picture]:
        """What the stock pipelines encode for this request and look at, in their order."""
        if request.init_image is None:
            return []
        init = Picture((request.width, request.height), request.init_image)
        if request.mask is None or not self._sees_mask:
            return [init]
        masked = init._replace(blank=request.mask)
        # At full strength, noise takes the place of the picture.
        return [masked] if request.strength == 1 else [init, masked]

    def _start(
        self,
        request: GenerationRequest,
        loras: LoraSet,
        embeds: torch.Tensor,
        warnings: tuple[str, ...],
        posteriors: Mapping[Picture, DiagonalGaussianDistribution],
    ) -> DenoisingState:
        """Lay out the schedule and draw the noise."""
        scheduler = SAMPLERS[request.scheduler].create(self._scheduler_config)
        scheduler.set_timesteps(request.num_inference_steps, device="cpu")
        generator = torch.Generator("cpu").manual_seed(request.seed)
        scale = self._autoencoder.scale
        shape = (1, self._autoencoder.channels, request.height // scale, request.width // scale)

        def draw() -> torch.Tensor:
            noise: torch.Tensor = randn_tensor(
                shape, generator, self._unet.device, self._unet.dtype
            )
            return noise

        # The order of all that is drawn is that of the stock pipelines.
        pictures = self._pictures(request)
        image = None
        if pictures and pictures[0].blank is None:
            image = self._autoencoder.sample(posteriors[pictures[0]], generator)
        noise = draw()
        conditioning = repaint = None
        if request.mask is not None:
            mask = self._autoencoder.mask((request.width, request.height), request.mask)
            if self._sees_mask or image is None:
                masked = self._autoencoder.sample(posteriors[pictures[-1]], generator)
                conditioning = torch.cat([mask, masked], dim=1)
            else:
                # The stock pipeline encodes the masked picture here too, and never looks at it.
                # But schedulers that draw at each step go on where that has stopped.
                draw()
                repaint = Repaint(mask, image, noise)

        timesteps = scheduler.timesteps
        self._schedule.scheduler = scheduler
        if request.init_image is not None:
            timesteps, _ = self._schedule.get_timesteps(
                request.num_inference_steps, request.strength, "cpu"
            )
        if image is None or (request.mask is not None and request.strength == 1):
            latents = noise * scheduler.init_noise_sigma
        else:
            latents = scheduler.add_noise(image, noise, timesteps[:1])
        return DenoisingState(
            latents=latents,
            embeds=embeds,
            guidance_scale=request.guidance_scale,
            scheduler=scheduler,
            timesteps=timesteps,
            step_kwargs=self._schedule.prepare_extra_step_kwargs(generator, eta=0.0),
            conditioning=conditioning,
            repaint=repaint,
            loras=loras,
            warnings=warnings,
        )

    def forward(self, states: Sequence[DenoisingState], rows: int) -> list[torch.Tensor]:
        samples: list[torch.Tensor] = []
        guided: list[torch.Tensor] = []
        timesteps: list[float] = []
        embeds = [state.embeds for state in states]
        for state in states:
            sample = state.scheduler.scale_model_input(state.latents, state.timestep)
            state.sample = sample
            if state.conditioning is not None:
                sample = torch.cat([sample, state.conditioning], dim=1)
            samples += [sample] * state.rows
            timesteps += [state.timestep.item()] * state.rows
        padding = rows - len(samples)
        if padding > 0:
            samples += samples[:1] * padding
            timesteps += timesteps[:1] * padding
            embeds.append(embeds[0][:1].expand(padding, -1, -1))
        # Not waiting for the copy: the device is to be kept fed.
        times = torch.tensor(timesteps, dtype=torch.float32).to(
            self._unet.device, non_blocking=True
        )
        # Latents of given pictures come in that layout, drawn ones do not, and what LoRAs add to a
        # convolution is rounded otherwise in another one: so it must not be up to the neighbours.
        latents = torch.cat(samples).contiguous(memory_format=torch.channels_last)
        with self._loras.applied(states):
            predictions = self._unet(
                latents,
                times,
                encoder_hidden_states=torch.cat(embeds),
                return_dict=False,
            )[0]
        used = predictions[: sum(state.rows for state in states)]
        for state, part in zip(states, used.split([state.rows for state in states]), strict=True):
            state.prediction = _guide(part, state.guidance_scale)
            guided.append(state.prediction)
        return guided

    def decode(self, states: Sequence[DenoisingState]) -> list[PIL.Image.Image]:
        return self._autoencoder.decode(torch.cat([state.latents for state in states]))

    def preview(self, state: DenoisingState) -> PIL.Image.Image:
        return self._autoencoder.latent_preview(
            state.latents if state.finished else predicted_original(state)
        )


def _prompts(request: GenerationRequest) -> dict[str, str]:
    """The texts that the request's rows see, in their order, by field."""
    if request.guidance_scale > 1:
        return {"negative_prompt": request.negative_prompt, "prompt": request.prompt}
    return {"prompt": request.prompt}


def predicted_original(state: DenoisingState) -> torch.Tensor:
    """The final latents as the last prediction has them; the noise itself before the first one.

    Of a sample that keeps its variance, as denoisers see them: Song et al. (2021),
    https://arxiv.org/abs/2010.02502, equation 9, and for v-prediction Salimans & Ho (2022),
    https://arxiv.org/abs/2202.00512, appendix D.
    """
    if state.sample is None or state.prediction is None:
        return state.latents
    kind = state.scheduler.config.prediction_type
    if kind == "sample":
        return state.prediction
    timestep = round(state.timesteps[max(state.index - 1, 0)].item())
    alpha: float = state.scheduler.alphas_cumprod[timestep].item()
    signal, noise = math.sqrt(alpha), math.sqrt(1 - alpha)
    if kind == "v_prediction":
        return signal * state.sample - noise * state.prediction
    return (state.sample - noise * state.prediction) / signal


def _guide(rows: torch.Tensor, guidance_scale: float) -> torch.Tensor:
    """Classifier-free guidance over ``[2, ...]`` (negative, prompt); one row passes unchanged.

    Ho & Salimans (2022), https://arxiv.org/abs/2207.12598, in the form of Stable Diffusion.
    """
    if len(rows) == 1:
        return rows
    negative, positive = rows.chunk(2)
    return negative + guidance_scale * (positive - negative)
