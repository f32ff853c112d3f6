"""The loss, for models that predict the noise and models that predict the velocity."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from training.dreambooth.objective import Objective


def _scheduler(kind: str) -> DDPMScheduler:
    return DDPMScheduler(beta_schedule="scaled_linear", prediction_type=kind)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_right_answer_costs_nothing(kind: str) -> None:
    objective = Objective(_scheduler(kind), None)
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(3, 4, 8, 8, generator=generator) for _ in range(2))
    timesteps = torch.tensor([10, 500, 990])
    alpha = _scheduler(kind).alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    answer = (
        noise
        if kind == "epsilon"
        # Salimans and Ho (2022), section 4.
        else alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    )
    right = objective.losses(answer, latents, noise, timesteps)
    torch.testing.assert_close(right, torch.zeros(3), rtol=0, atol=1e-10)
    off_by_one = objective.losses(answer + 1, latents, noise, timesteps)
    torch.testing.assert_close(off_by_one, torch.ones(3), rtol=0, atol=1e-5)
    noisy = objective.noisy(latents, noise, timesteps)
    torch.testing.assert_close(noisy, alpha.sqrt() * latents + (1 - alpha).sqrt() * noise)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr_weights(kind: str) -> None:
    gamma = 5.0
    objective = Objective(_scheduler(kind), gamma)
    timesteps = torch.tensor([5, 400, 995])
    zeros = torch.zeros(3, 4, 2, 2)
    noise = torch.zeros_like(zeros)
    losses = objective.losses(zeros + 1, zeros, noise, timesteps)
    alpha = _scheduler(kind).alphas_cumprod[timesteps]
    snr = alpha / (1 - alpha)
    assert snr[0] > gamma > snr[1]
    # Hang et al. (2023), section 3.4: of the noise, and of the velocity.
    expected = snr.clamp(max=gamma) / (snr if kind == "epsilon" else snr + 1)
    torch.testing.assert_close(losses, expected)
