"""A latent diffusion model, of whatever architecture, made of its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.utils.torch_utils import randn_tensor

from contract.errors import ErrorCode, RequestError
from contract.request import GenerationRequest
from engine.denoising.guidance import Guidance, SkipLayers
from engine.denoising.noise_schedule import NoiseSchedule
from engine.denoising.samplers import SAMPLERS
from engine.denoising.state import DenoisingState, Handover, Repaint
from engine.lora.adapter import Adapter, LoraSet
from engine.lora.loading import load_adapter
from engine.lora.rows import LoraPasses
from engine.pipelines.autoencoder import Autoencoder, Picture
from engine.pipelines.base import NO_ADAPTERS, SegmentRequest
from engine.pipelines.denoiser_pass import DenoiserPass
from engine.pipelines.parts import Denoiser, Prompted, TextStage
from models.catalog import Task
from models.lora import LORA_FILE


class LatentDiffusion:
    """Implements ``DiffusionModel`` for any latent diffusion model.

    A request run alone in fp32 gives what the stock pipelines give. To that end its random numbers
    are sampled in their order; and all in fp32 on the CPU, so that a seed gives the same noise on
    every device and in every precision. (A stock pipeline in fp16 samples in fp16, which is other
    noise, and keeps latents in fp16, which are in fp32 here.)

    Args:
        denoiser: of the latents alone, or made for inpainting.
        text: makes its conditioning.
        autoencoder: makes its latents.
        scheduler_config: of the noise schedule that it was trained with.
        text_encoders: by their names in the pipeline: those that LoRAs may change.
        from_text: whether it can start from noise alone; not so a refiner.
        invariant: compute what LoRAs add job by job, see ``LoraPasses``.

    Raises:
        ValueError: the denoiser takes other inputs than latents, or latents with mask and masked
            picture.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        text: TextStage,
        autoencoder: Autoencoder,
        *,
        scheduler_config: Any,
        text_encoders: Mapping[str, Any],
        from_text: bool = True,
        invariant: bool = False,
    ) -> None:
        self._text = text
        self._autoencoder = autoencoder
        self._scheduler_config = scheduler_config
        self._components = {denoiser.component: denoiser.module, **text_encoders}
        self._from_text = from_text
        # Kept, as these properties look through the whole module each time.
        self._device: torch.device = denoiser.module.device
        self._dtype: torch.dtype = denoiser.module.dtype
        self._loras = LoraPasses(denoiser.module, denoiser.component, batch_invariant=invariant)
        self._layers = range(denoiser.layers)
        self._pass = DenoiserPass(denoiser, self._loras)
        self._mixed_sizes = denoiser.packed is not None
        self._longest_side = denoiser.longest_side
        in_channels, channels = denoiser.module.config.in_channels, autoencoder.channels
        if in_channels not in (channels, 2 * channels + 1):
            raise ValueError(
                f"denoisers of {in_channels} input channels over latents of {channels} are not "
                "supported"
            )
        self._takes_mask = in_channels != channels

    @property
    def tasks(self) -> frozenset[Task]:
        """What the denoiser can do; one that takes a mask was trained for nothing else."""
        if self._takes_mask:
            return frozenset({"inpaint"})
        return frozenset({"img2img", "inpaint", *(("txt2img",) if self._from_text else ())})

    @property
    def latent_scale(self) -> int:
        return self._autoencoder.scale

    def load_adapter(self, folder: Path) -> Adapter:
        return load_adapter(folder / LORA_FILE, self._components)

    def prepare(
        self, wanted: Sequence[SegmentRequest], adapters: Mapping[str, Adapter] = NO_ADAPTERS
    ) -> list[DenoisingState]:
        for each in wanted:
            self._check(each)
        loras = self._loras.sets([each.loras for each in wanted], adapters)
        prompts = self._text.encode([each.request for each in wanted], loras)
        posteriors = self._autoencoder.encode(
            picture for each in wanted for picture in self._pictures(each)
        )
        return [
            self._state(each, lora_set, prompted, posteriors)
            for each, lora_set, prompted in zip(wanted, loras, prompts, strict=True)
        ]

    def _check(self, wanted: SegmentRequest) -> None:
        """Raise ``RequestError`` if the denoiser cannot do this segment."""
        request, handover, model = wanted.request, wanted.handover, wanted.segment.model
        if self._takes_mask and request.mask is None:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                f"mask: {model} can only inpaint, so it needs a picture and a mask",
                field="mask",
            )
        if not self._from_text and request.init_image is None and handover is None:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                f"init_image: {model} only goes on with a picture, so it needs one",
                field="init_image",
            )
        if handover is not None and self._takes_mask != (handover.extra_channels is not None):
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                f"refiner: of {model} and the model before it, only one sees the mask",
                field="refiner",
            )
        if missing := [layer for layer in request.skip_layers if layer not in self._layers]:
            known = f"only 0 to {self._layers[-1]}" if self._layers else "nor any other"
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"skip_layers: {model} has no layer {missing[0]} that could be skipped, {known}",
                field="skip_layers",
            )
        if self._longest_side is not None:
            most = self._longest_side * self.latent_scale
            for field, side in (("width", request.width), ("height", request.height)):
                if side > most:
                    raise RequestError(
                        ErrorCode.OUT_OF_RANGE,
                        f"{field} must be at most {most} for {model}, got {side}",
                        field=field,
                    )

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
        prompted: Prompted,
        posteriors: Mapping[Picture, DiagonalGaussianDistribution],
    ) -> DenoisingState:
        """Lay out the schedule, and sample the noise or take over what was handed over."""
        request, handover = wanted.request, wanted.handover
        generator = (
            torch.Generator("cpu").manual_seed(request.seed)
            if handover is None
            else handover.generator
        )
        schedule = self._schedule(wanted, generator)
        start = handover or self._start(wanted, schedule, posteriors)
        return DenoisingState(
            latents=start.latents,
            conditioning=prompted.conditioning.to(self._device, self._dtype),
            guidance=_guidance(request),
            schedule=schedule,
            extra_channels=start.extra_channels,
            repaint=start.repaint,
            loras=loras,
            warnings=tuple(dict.fromkeys((*start.warnings, *prompted.warnings))),
            mixed_sizes=self._mixed_sizes,
        )

    def _schedule(self, wanted: SegmentRequest, generator: torch.Generator) -> NoiseSchedule:
        """The noise schedule of a segment."""
        request = wanted.request
        return NoiseSchedule(
            SAMPLERS[request.scheduler].create(self._scheduler_config),
            request.num_inference_steps,
            generator,
            strength=request.strength,
            segment=wanted.segment,
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
        return self._pass.run(states, rows)

    def decode(self, states: Sequence[DenoisingState]) -> list[PIL.Image.Image | ArithmeticError]:
        return self._autoencoder.decode(torch.cat([state.latents for state in states]))

    def preview(self, state: DenoisingState) -> PIL.Image.Image:
        return self._autoencoder.latent_preview(state.predicted_original)


def _guidance(request: GenerationRequest) -> Guidance:
    skip_layers = None
    # As with the stock pipelines, of which only the one for txt2img has it.
    if request.skip_layers and request.init_image is None:
        skip_layers = SkipLayers(
            request.skip_layers,
            request.skip_layer_scale,
            request.skip_layer_start,
            request.skip_layer_end,
        )
    return Guidance(
        request.guidance_scale,
        request.guidance_start,
        request.guidance_end,
        request.guidance_rescale,
        skip_layers,
    )
