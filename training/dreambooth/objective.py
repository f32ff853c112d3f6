"""The loss of denoising, for the ways of saying what a denoiser predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor
from torch.nn import functional

from models.architectures import Prediction
from training.timesteps import logit_normal, stratified_timesteps


class Objective(Protocol):
    """What is asked of a denoiser."""

    def timesteps(
        self, *, offset: int, count: int, total: int, generator: torch.Generator
    ) -> Tensor:
        """The timesteps [count] of ``total`` samples of an update, from number ``offset`` on."""
        ...

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the denoiser gets to see, [B, C, height, width]."""
        ...

    def losses(
        self, prediction: Tensor, latents: Tensor, noise: Tensor, timesteps: Tensor
    ) -> Tensor:
        """The loss of each sample, [B], in fp32."""
        ...


def objective_for(
    prediction: Prediction, scheduler: Mapping[str, Any], snr_gamma: float | None
) -> Objective:
    """The objective that a base was made for.

    Args:
        prediction: of the base's family.
        scheduler: the config of the base's.
        snr_gamma: see ``Diffusion``; flows have no such weights.
    """
    if prediction == "flow":
        return Flow(scheduler)
    return Diffusion(DDPMScheduler.from_config(scheduler), snr_gamma)


class Diffusion:
    """Mean squared error of the noise (Ho et al. 2020) or of the velocity (Salimans and Ho 2022),
    whichever the base was made for.

    Args:
        scheduler: with the base's noise schedule.
        snr_gamma: weights of min-SNR-gamma (Hang et al. 2023, https://arxiv.org/abs/2303.09556);
            None for equal weights.
    """

    def __init__(self, scheduler: DDPMScheduler, snr_gamma: float | None) -> None:
        self._scheduler, self._gamma = scheduler, snr_gamma
        self._velocity = scheduler.config.prediction_type == "v_prediction"

    def timesteps(
        self, *, offset: int, count: int, total: int, generator: torch.Generator
    ) -> Tensor:
        return stratified_timesteps(
            self._scheduler.config.num_train_timesteps,
            offset=offset,
            count=count,
            total=total,
            generator=generator,
        )

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        noisy: Tensor = self._scheduler.add_noise(latents, noise, timesteps)
        return noisy

    def losses(
        self, prediction: Tensor, latents: Tensor, noise: Tensor, timesteps: Tensor
    ) -> Tensor:
        target = (
            self._scheduler.get_velocity(latents, noise, timesteps) if self._velocity else noise
        )
        losses = _squared_errors(prediction, target)
        return losses if self._gamma is None else losses * self._weights(timesteps, self._gamma)

    def _weights(self, timesteps: Tensor, gamma: float) -> Tensor:
        snr = compute_snr(self._scheduler, timesteps)
        weights: Tensor = torch.clamp(snr, max=gamma)
        weights /= snr + 1 if self._velocity else snr
        return weights


class Flow:
    """Mean squared error of the direction from the picture to the noise (rectified flow, Liu et al.
    2022), with the logit-normal noise levels of Esser et al. 2024 (https://arxiv.org/abs/2403.03206,
    section 3.1), shifted for the picture's size as the base's own are (section 5.3.2).

    Args:
        scheduler: the config of the base's. A shift that depends on the size of each picture
            (``use_dynamic_shifting``) is left out.
    """

    def __init__(self, scheduler: Mapping[str, Any]) -> None:
        self._steps: int = scheduler["num_train_timesteps"]
        dynamic = scheduler.get("use_dynamic_shifting")
        self._shift: float = 1.0 if dynamic else scheduler.get("shift", 1.0)

    def timesteps(
        self, *, offset: int, count: int, total: int, generator: torch.Generator
    ) -> Tensor:
        levels = logit_normal(offset=offset, count=count, total=total, generator=generator)
        return self._shift * levels / (1 + (self._shift - 1) * levels) * self._steps

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return torch.lerp(latents, noise, (timesteps / self._steps).view(-1, 1, 1, 1))

    def losses(
        self, prediction: Tensor, latents: Tensor, noise: Tensor, timesteps: Tensor
    ) -> Tensor:
        return _squared_errors(prediction, noise - latents)


def _squared_errors(prediction: Tensor, target: Tensor) -> Tensor:
    errors = functional.mse_loss(prediction.float(), target.float(), reduction="none")
    means: Tensor = errors.mean(dim=(1, 2, 3))
    return means
