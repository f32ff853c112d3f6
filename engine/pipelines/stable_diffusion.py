"""Stable Diffusion 1 and 2: CLIP text encoder, UNet, KL autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import PIL.Image
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.utils.torch_utils import randn_tensor

from contract.errors import ErrorCode, RequestError
from contract.request import GenerationRequest
from engine.denoising.conditioning import Conditioning
from engine.denoising.guidance import Guidance
from engine.denoising.noise_schedule import NoiseSchedule
from engine.denoising.samplers import SAMPLERS
from engine.denoising.state import DenoisingState, Handover, Repaint
from engine.lora.adapter import Adapter, LoraSet
from engine.lora.loading import load_adapter
from engine.lora.rows import LoraPasses
from engine.pipelines.autoencoder import VAE_PIXELS, Autoencoder, Picture
from engine.pipelines.base import NO_ADAPTERS, SegmentRequest
from engine.pipelines.prompts import PromptEncoder, pad_to_longest
from models.catalog import Task
from models.lora import LORA_FILE

Compiler: TypeAlias = Callable[[Any], Any]


def eager(unet: Any) -> Any:
    """The compiler that leaves the UNet as it is."""
    return unet


class StableDiffusion:
    """Adapts a loaded ``StableDiffusionPipeline`` or ``StableDiffusionInpaintPipeline``.

    A request run alone in fp32 gives what the stock pipelines give. To that end its random numbers
    are sampled in their order; and all in fp32 on the CPU, so that a seed gives the same noise on
    every device and in every precision. (A stock pipeline in fp16 samples in fp16, which is other
    noise, and keeps latents in fp16, which are in fp32 here.)

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
        self._unet = compiler(pipeline.unet.to(memory_format=torch.channels_last))
        # Kept, as these properties look through the whole module each time.
        self._device: torch.device = self._unet.device
        self._dtype: torch.dtype = self._unet.dtype
        self._autoencoder = Autoencoder(pipeline.vae, vae_pixels)
        self._loras = LoraPasses(self._unet, batch_invariant=invariant)
        self._text_encoder = pipeline.text_encoder
        self._prompts = PromptEncoder(
            pipeline.tokenizer, pipeline.text_encoder, batch_invariant=invariant
        )
        self._scheduler_config: Any = pipeline.scheduler.config
        if self._unet.config.time_cond_proj_dim is not None:
            raise ValueError("guidance-distilled UNets (time_cond_proj_dim) are not supported")
        in_channels, channels = self._unet.config.in_channels, self._autoencoder.channels
        if in_channels not in (channels, 2 * channels + 1):
            raise ValueError(
                f"UNets of {in_channels} input channels over latents of {channels} are not "
                "supported"
            )
        self._takes_mask = in_channels != channels

    @property
    def tasks(self) -> frozenset[Task]:
        """What the UNet can do; one that takes a mask was trained for nothing else."""
        return frozenset({"inpaint"} if self._takes_mask else {"txt2img", "img2img", "inpaint"})

    @property
    def latent_scale(self) -> int:
        return self._autoencoder.scale

    def load_adapter(self, folder: Path) -> Adapter:
        return load_adapter(
            folder / LORA_FILE,
            self._unet,
            self._text_encoder,
            device=self._device,
            dtype=self._dtype,
        )

    def prepare(
        self, wanted: Sequence[SegmentRequest], adapters: Mapping[str, Adapter] = NO_ADAPTERS
    ) -> list[DenoisingState]:
        for each in wanted:
            if self._takes_mask and each.request.mask is None:
                raise RequestError(
                    ErrorCode.INVALID_REQUEST,
                    f"mask: {each.segment.model} can only inpaint, so it needs a picture and a "
                    "mask",
                    field="mask",
                )
        loras = self._loras.sets([each.loras for each in wanted], adapters)
        prompts = self._embed([each.request for each in wanted], loras)
        posteriors = self._autoencoder.encode(
            picture for each in wanted for picture in self._pictures(each)
        )
        return [
            self._state(each, lora_set, embeds, warnings, posteriors)
            for each, lora_set, (embeds, warnings) in zip(wanted, loras, prompts, strict=True)
        ]

    def _embed(
        self, requests: Sequence[GenerationRequest], loras: Sequence[LoraSet]
    ) -> list[tuple[torch.Tensor, tuple[str, ...]]]:
        """Each request's embeddings ``[rows, tokens, dim]``, and the warnings about its prompts."""
        fields = [_prompts(request) for request in requests]
        encoded = {
            key: self._prompts.encode(
                (
                    text
                    for texts, each in zip(fields, loras, strict=True)
                    if each.text_encoder_key == key
                    for text in texts.values()
                ),
                lora_set,
            )
            for key, lora_set in {each.text_encoder_key: each for each in loras}.items()
        }
        embedded = []
        for texts, lora_set in zip(fields, loras, strict=True):
            prompts = encoded[lora_set.text_encoder_key]
            embeds = pad_to_longest(
                [prompts[text].embeds for text in texts.values()], prompts[""].embeds
            )
            warnings = tuple(
                f"{field} {warning}"
                for field, text in texts.items()
                for warning in prompts[text].warnings
            )
            embedded.append((embeds, warnings))
        return embedded

    def _pictures(self, wanted: SegmentRequest) -> list[Picture]:
        """What the stock pipelines encode for this request and look at, in their order."""
        request = wanted.request
        if request.init_image is None or wanted.handover is not None:
            return []
        init = Picture((request.width, request.height), request.init_image)
        if request.mask is None or not self._takes_mask:
            return [init]
        masked = init._replace(masked=request.mask)
        # At full strength, noise takes the place of the picture.
        return [masked] if request.strength == 1 else [init, masked]

    def _state(
        self,
        wanted: SegmentRequest,
        loras: LoraSet,
        embeds: torch.Tensor,
        warnings: tuple[str, ...],
        posteriors: Mapping[Picture, DiagonalGaussianDistribution],
    ) -> DenoisingState:
        """Lay out the schedule, and sample the noise or take over what was handed over."""
        request, handover = wanted.request, wanted.handover
        generator = (
            torch.Generator("cpu").manual_seed(request.seed)
            if handover is None
            else handover.generator
        )
        schedule = NoiseSchedule(
            SAMPLERS[request.scheduler].create(self._scheduler_config),
            request.num_inference_steps,
            generator,
            strength=request.strength,
            segment=wanted.segment,
        )
        start = handover or self._start(wanted, schedule, posteriors)
        return DenoisingState(
            latents=start.latents,
            conditioning=Conditioning({"encoder_hidden_states": embeds}),
            guidance=Guidance(request.guidance_scale, request.guidance_start, request.guidance_end),
            schedule=schedule,
            extra_channels=start.extra_channels,
            repaint=start.repaint,
            loras=loras,
            warnings=tuple(dict.fromkeys((*start.warnings, *warnings))),
        )

    def _start(
        self,
        wanted: SegmentRequest,
        schedule: NoiseSchedule,
        posteriors: Mapping[Picture, DiagonalGaussianDistribution],
    ) -> Handover:
        """What the first segment begins with. All is sampled in the stock pipelines' order."""
        request = wanted.request
        generator = schedule.generator
        scale = self._autoencoder.scale
        shape = (1, self._autoencoder.channels, request.height // scale, request.width // scale)

        def sample_noise() -> torch.Tensor:
            noise: torch.Tensor = randn_tensor(shape, generator, self._device, torch.float32)
            return noise

        pictures = self._pictures(wanted)
        image = None
        if pictures and pictures[0].masked is None:
            image = self._autoencoder.sample(posteriors[pictures[0]], generator)
        noise = sample_noise()
        extra_channels = repaint = None
        if request.mask is not None:
            mask = self._autoencoder.mask((request.width, request.height), request.mask)
            if self._takes_mask or image is None:
                masked = self._autoencoder.sample(posteriors[pictures[-1]], generator)
                extra_channels = torch.cat([mask, masked], dim=1)
            else:
                # The stock pipeline encodes the masked picture here too, and never looks at it.
                # But schedulers that sample at each step go on where that has stopped.
                sample_noise()
                repaint = Repaint(mask, image, noise)
        from_noise = request.mask is not None and request.strength == 1
        latents = schedule.start(noise, None if from_noise else image)
        return Handover(latents, generator, repaint, extra_channels)

    def forward(self, states: Sequence[DenoisingState], rows: int) -> list[torch.Tensor]:
        state_rows = [state.rows for state in states]
        samples: list[torch.Tensor] = []
        timesteps: list[float] = []
        for state, count in zip(states, state_rows, strict=True):
            sample = state.scaled_latents()
            if state.extra_channels is not None:
                sample = torch.cat([sample, state.extra_channels], dim=1)
            samples += [sample] * count
            timesteps += [state.timestep] * count
        padding = rows - len(samples)
        samples += samples[:1] * padding
        timesteps += timesteps[:1] * padding
        # Not waiting for the copy: the device is to be kept fed.
        times = torch.tensor(timesteps, dtype=torch.float32).to(self._device, non_blocking=True)
        # Latents of given pictures come in that layout, sampled ones do not, and what LoRAs add to
        # a convolution is rounded otherwise in another one: so it must not be up to the neighbours.
        latents = torch.cat(samples).to(self._dtype)
        latents = latents.contiguous(memory_format=torch.channels_last)
        conditioning = Conditioning.concatenate(
            [state.row_conditioning for state in states], padding
        )
        with self._loras.applied(states):
            predictions = self._unet(latents, times, **conditioning.tensors, return_dict=False)[
                0
            ].float()
        parts = predictions[: sum(state_rows)].split(state_rows)
        return [state.guidance.combine(part) for state, part in zip(states, parts, strict=True)]

    def decode(self, states: Sequence[DenoisingState]) -> list[PIL.Image.Image | ArithmeticError]:
        return self._autoencoder.decode(torch.cat([state.latents for state in states]))

    def preview(self, state: DenoisingState) -> PIL.Image.Image:
        return self._autoencoder.latent_preview(state.predicted_original)


def _prompts(request: GenerationRequest) -> dict[str, str]:
    """The texts of the request's rows, in their order, by field."""
    if request.guidance_scale > 1:
        return {"negative_prompt": request.negative_prompt, "prompt": request.prompt}
    return {"prompt": request.prompt}
