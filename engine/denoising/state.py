"""Where one job stands in its denoising."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import torch

from engine.lora.adapter import NO_LORAS, LoraSet


@dataclass(slots=True, eq=False)
class Repaint:
    """What keeps the unpainted part of a picture through the denoising (RePaint, Lugmayr et al.
    2022, https://arxiv.org/abs/2201.09865, without resampling: the form of Stable Diffusion).

    Attributes:
        mask: ``[1, 1, height, width]`` in latent pixels: 1 where the picture is painted anew.
        latents: ``[1, channels, height, width]``: the given picture, encoded.
        noise: the same shape: the job's initial noise.
    """

    mask: torch.Tensor
    latents: torch.Tensor
    noise: torch.Tensor


@dataclass(slots=True, eq=False)
class DenoisingState:
    """The tensors and the scheduler of one job; only the engine's thread touches it.

    Attributes:
        latents: ``[1, channels, height, width]`` in latent pixels.
        embeds: ``[rows, tokens, dim]``: the prompt's text embedding, preceded by the negative
            prompt's where guidance is on.
        guidance_scale: classifier-free guidance weight; used where ``rows`` is 2.
        scheduler: the job's own diffusers scheduler; solvers keep their history in it.
        timesteps: what is left of the schedule at the start, ``[evaluations]``, on the CPU so
            that reading one never waits for the device.
        step_kwargs: further arguments of ``scheduler.step``.
        conditioning: ``[1, channels, height, width]`` that the denoiser sees beside the latents,
            for denoisers made so (inpainting UNets).
        repaint: inpainting with any other denoiser; None elsewhere.
        loras: what is added to the denoiser for this job.
        warnings: what was done otherwise than asked, in sentences for the client.
        sample: ``[1, channels, height, width]``: what the denoiser saw last, for previews.
        prediction: the same shape: and what it made of that.
        index: evaluations done.
    """

    latents: torch.Tensor
    embeds: torch.Tensor
    guidance_scale: float
    scheduler: Any
    timesteps: torch.Tensor
    step_kwargs: dict[str, Any] = field(default_factory=dict)
    conditioning: torch.Tensor | None = None
    repaint: Repaint | None = None
    loras: LoraSet = NO_LORAS
    warnings: tuple[str, ...] = ()
    sample: torch.Tensor | None = None
    prediction: torch.Tensor | None = None
    index: int = 0

    @property
    def rows(self) -> int:
        """Rows of the batch that the job fills: 2 with classifier-free guidance, else 1."""
        return self.embeds.shape[0]

    @property
    def shape_key(self) -> Hashable:
        """Jobs with equal keys (and the same model) can share a denoiser call."""
        return (tuple(self.latents.shape[1:]), tuple(self.embeds.shape[1:]))

    @property
    def timestep(self) -> torch.Tensor:
        return self.timesteps[self.index]

    @property
    def total(self) -> int:
        """DenoiseStage evaluations of the whole job."""
        return len(self.timesteps)

    @property
    def finished(self) -> bool:
        return self.index >= self.total

    def advance(self, prediction: torch.Tensor) -> None:
        """Take the scheduler's step with the guided prediction ``[1, channels, height, width]``."""
        self.latents = self.scheduler.step(
            prediction, self.timestep, self.latents, **self.step_kwargs, return_dict=False
        )[0]
        self.index += 1
        if self.repaint is not None:
            kept = self.repaint.latents
            if not self.finished:
                kept = self.scheduler.add_noise(kept, self.repaint.noise, self.timestep[None])
            mask = self.repaint.mask
            self.latents = (1 - mask) * kept + mask * self.latents
