"""The loss, for models that predict the noise, the velocity or a flow."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

from training.dreambooth.objective import Diffusion, Flow, objective_for


def _scheduler(kind: str) -> DDPMScheduler:
    return DDPMScheduler(beta_schedule="scaled_linear", prediction_type=kind)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_right_answer_costs_nothing(kind: str) -> None:
    objective = Diffusion(_scheduler(kind), None)
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


def _flow(**config: object) -> Flow:
    return Flow(FlowMatchEulerDiscreteScheduler(**config).config)


def test_the_right_direction_costs_nothing() -> None:
    objective = _flow(shift=3.0)
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(3, 16, 8, 8, generator=generator) for _ in range(2))
    timesteps = torch.tensor([10.5, 500, 990])
    right = objective.losses(noise - latents, latents, noise, timesteps)
    torch.testing.assert_close(right, torch.zeros(3))
    off_by_one = objective.losses(noise - latents + 1, latents, noise, timesteps)
    torch.testing.assert_close(off_by_one, torch.ones(3))
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    for index in (0, 400, 999):
        times = scheduler.timesteps[index : index + 1]
        expected = scheduler.scale_noise(latents[:1], times, noise[:1])
        torch.testing.assert_close(objective.noisy(latents[:1], noise[:1], times), expected)


@pytest.mark.parametrize(
    ("config", "middle"),
    # A level s becomes 3 s / (1 + 2 s); one that is shifted for each picture's size stays.
    [({"shift": 3.0}, 750), ({"shift": 3.0, "use_dynamic_shifting": True}, 500), ({}, 500)],
)
def test_levels_are_normal_in_the_logits_and_shifted(
    config: dict[str, object], middle: float
) -> None:
    timesteps = _flow(**config).timesteps(
        offset=0, count=4096, total=4096, generator=torch.Generator().manual_seed(0)
    )
    assert timesteps.is_floating_point()
    assert 0 < timesteps.min() < timesteps.max() < 1000
    assert timesteps.median() == pytest.approx(middle, abs=2)
    levels = timesteps / 1000
    shift = 3 if middle == 750 else 1
    unshifted = levels / (shift - (shift - 1) * levels)
    assert unshifted.logit().std() == pytest.approx(1, abs=0.02)


def test_a_flow_is_never_trained_as_noise() -> None:
    assert isinstance(objective_for("flow", {"num_train_timesteps": 1000}, None), Flow)
    assert isinstance(objective_for("diffusion", _scheduler("epsilon").config, 5.0), Diffusion)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr_weights(kind: str) -> None:
    gamma = 5.0
    objective = Diffusion(_scheduler(kind), gamma)
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
