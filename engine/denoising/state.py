"""The state of one job's denoising: its tensors, and where in its schedule it is."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import torch

from engine.denoising.conditioning import Conditioning
from engine.denoising.guidance import Guidance
from engine.denoising.noise_schedule import NoiseSchedule
from engine.lora.adapter import NO_LORAS, LoraSet


@dataclass(frozen=True, slots=True, eq=False)
class Repaint:
    """What keeps the unmasked part of a picture through the denoising (RePaint, Lugmayr et al.
    2022, https://arxiv.org/abs/2201.09865, without resampling: the form of Stable Diffusion).

    Attributes:
        mask: ``[1, 1, height, width]`` in latent pixels: 1 where the picture is inpainted.
        latents: ``[1, channels, height, width]``: the given picture, encoded.
        noise: the same shape: the job's initial noise.
    """

    mask: torch.Tensor
    latents: torch.Tensor
    noise: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Handover:
    """What one segment of a job leaves to the next one, which another model may denoise.

    Attributes:
        latents: ``[1, channels, height, width]``, partly denoised.
        generator: goes on where it has stopped.
        repaint: as of the first segment; likewise ``extra_channels`` and ``warnings``.
    """

    latents: torch.Tensor
    generator: torch.Generator
    repaint: Repaint | None = None
    extra_channels: torch.Tensor | None = None
    warnings: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class DenoisingState:
    """The tensors and the schedule of one segment; only the engine's thread touches it.

    Attributes:
        latents: ``[1, channels, height, width]`` in latent pixels, in fp32 whatever the model is
            in: noise and solvers are then the same in every precision.
        conditioning: one row for the prompt, preceded by one for the negative prompt where guidance
            is enabled.
        guidance: which steps have it, and how much.
        schedule: the job's own.
        extra_channels: ``[1, channels, height, width]`` that the denoiser sees beside the latents,
            for denoisers made so (inpainting UNets).
        repaint: inpainting with any other denoiser; None elsewhere.
        loras: what is added to the denoiser for this job.
        warnings: the parameters that were adjusted, in sentences for the client.
        sample: ``[1, channels, height, width]``: what the denoiser saw last, for previews.
        prediction: the same shape: its prediction for that, after guidance.
        index: evaluations done.
        mixed_sizes: whether pictures of different sizes can share a pass.
        shape_key: jobs with equal keys (and the same model) have tensors of one shape.
        pass_key: those with equal ones can share a pass.
    """

    latents: torch.Tensor
    conditioning: Conditioning
    guidance: Guidance
    schedule: NoiseSchedule
    extra_channels: torch.Tensor | None = None
    repaint: Repaint | None = None
    loras: LoraSet = NO_LORAS
    warnings: tuple[str, ...] = ()
    sample: torch.Tensor | None = None
    prediction: torch.Tensor | None = None
    index: int = 0
    mixed_sizes: bool = False
    shape_key: Hashable = field(init=False)
    pass_key: Hashable = field(init=False)

    def __post_init__(self) -> None:
        seen = (
            [self.latents] if self.extra_channels is None else [self.latents, self.extra_channels]
        )
        conditioning = self.conditioning.shape_key
        self.shape_key = tuple(tuple(each.shape[1:]) for each in seen), conditioning
        self.pass_key = self.shape_key
        if self.mixed_sizes:
            self.pass_key = tuple(each.shape[1] for each in seen), conditioning

    @property
    def guided(self) -> bool:
        """Whether the next step has guidance."""
        schedule = self.schedule
        position = schedule.offset + self.index
        return self.conditioning.rows > 1 and self.guidance.active(position, schedule.full_total)

    @property
    def rows(self) -> int:
        """Rows of the next pass that the job fills: 2 with guidance, else 1; with skip-layer
        guidance 3."""
        if not self.guided:
            return 1
        return self.conditioning.rows + bool(self.skipped_layers)

    @property
    def row_conditioning(self) -> Conditioning:
        """The conditioning of the next pass's rows."""
        if not self.guided:
            return self.conditioning.last()
        return self.conditioning.last_twice() if self.skipped_layers else self.conditioning

    @property
    def skipped_layers(self) -> tuple[int, ...]:
        """The layers that the last row of the next pass leaves out."""
        skip, schedule = self.guidance.skip_layers, self.schedule
        if skip is None or not self.guided:
            return ()
        active = skip.active(schedule.offset + self.index, schedule.steps)
        return skip.layers if active else ()

    @property
    def timestep(self) -> float:
        return self.schedule.timestep(self.index)

    @property
    def total(self) -> int:
        """Denoiser evaluations of the whole segment."""
        return self.schedule.total

    @property
    def finished(self) -> bool:
        return self.index >= self.total

    @property
    def predicted_original(self) -> torch.Tensor:
        """The final latents as the last step foresees them; the noise itself before the first."""
        if self.finished or self.sample is None or self.prediction is None:
            return self.latents
        return self.schedule.predict_original(self.prediction, self.sample, self.index - 1)

    def scaled_latents(self) -> torch.Tensor:
        """What the denoiser sees of the latents in the next pass; kept for previews."""
        self.sample = self.schedule.scale(self.latents, self.index)
        return self.sample

    def advance(self, prediction: torch.Tensor) -> None:
        """Take a step with the prediction ``[1, channels, height, width]`` after guidance."""
        self.prediction = prediction
        self.latents = self.schedule.step(prediction, self.latents, self.index)
        self.index += 1
        if self.repaint is not None:
            kept = self.repaint.latents
            if self.schedule.noisy(self.index):
                kept = self.schedule.renoise(kept, self.repaint.noise, self.index)
            mask = self.repaint.mask
            self.latents = (1 - mask) * kept + mask * self.latents

    def hand_over(self) -> Handover:
        """What the job's next segment begins with."""
        return Handover(
            self.latents, self.schedule.generator, self.repaint, self.extra_channels, self.warnings
        )
