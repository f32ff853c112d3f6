"""The loss of denoising, for both ways of saying what a UNet predicts."""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr
from torch import Tensor
from torch.nn import functional


class Objective:
    """Mean squared error of the noise (Ho et al. 2020) or of the velocity (Salimans and Ho 2022),
    whichever the base was made for.

    Args:
        scheduler: with the base's noise schedule.
        snr_gamma: weights of min-SNR-gamma (Hang et al. 2023, https://arxiv.org/abs/2303.09556);
            None for equal weights.
    """

    def __init__(self, scheduler: DDPMScheduler, snr_gamma: float | None) -> None:
        self._scheduler, self._gamma = scheduler, snr_gamma
        self.timesteps: int = scheduler.config.num_train_timesteps
        self._velocity = scheduler.config.prediction_type == "v_prediction"

    def noisy(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the UNet gets to see, [B, 4, height, width]."""
        noisy: Tensor = self._scheduler.add_noise(latents, noise, timesteps)
        return noisy

    def losses(
        self, prediction: Tensor, latents: Tensor, noise: Tensor, timesteps: Tensor
    ) -> Tensor:
        """The loss of each sample, [B], in fp32."""
        target = (
            self._scheduler.get_velocity(latents, noise, timesteps) if self._velocity else noise
        )
        errors = functional.mse_loss(prediction.float(), target.float(), reduction="none")
        losses: Tensor = errors.mean(dim=(1, 2, 3))
        return losses if self._gamma is None else losses * self._weights(timesteps, self._gamma)

    def _weights(self, timesteps: Tensor, gamma: float) -> Tensor:
        snr = compute_snr(self._scheduler, timesteps)
        weights: Tensor = torch.clamp(snr, max=gamma)
        weights /= snr + 1 if self._velocity else snr
        return weights
