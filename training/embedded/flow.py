"""The training of the transformer: flow matching, taught by the embedded UNet.

The direction from picture to noise is, for one noisy sample, anybody's guess: many pictures fit it.
Their mean is what is to be learned, and the embedded UNet knows it. Its answer in place of the one
picture that was drawn takes the chance out of the target, and the transformer needs fewer samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from diffusers import DDIMScheduler, SD3Transformer2DModel, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional

from training.embedded import unet
from training.embedded.cache import Cache, load_cache
from training.embedded.loop import Share
from training.embedded.mmdit import SCHEDULE, CountedZeros, without_empty_channels

TAUGHT: Final = "taught"
"""The condition of the cache that the teacher is told."""
LOWEST: Final = 0.03
"""The teacher's lowest noise level. The last step of a sampler lies below and changes nothing."""


@dataclass(frozen=True, slots=True)
class FlowPlan:
    """Train on a cache, whose texts end in one zero token; from the weights in a directory, taught
    by the UNet in another."""

    cache: Path
    initial: Path
    teacher: Path

    def learner(self, device: torch.device) -> FlowLearner:
        network = SD3Transformer2DModel.from_pretrained(self.initial, dtype=torch.float32)
        teacher = UNet2DConditionModel.from_pretrained(self.teacher, dtype=torch.float32)
        return FlowLearner(
            without_empty_channels(network).to(device),
            Teacher(teacher.to(device)),
            load_cache(self.cache),
            device,
        )


class FlowLearner:
    """Mean squared error of the direction from picture to noise (rectified flow)."""

    def __init__(
        self, network: SD3Transformer2DModel, teacher: Teacher, cache: Cache, device: torch.device
    ) -> None:
        self.network = network
        self._teacher, self._cache, self._device = teacher, cache, device

    def loss(self, share: Share) -> Tensor:
        """The loss of freshly drawn latents, noise and noise levels."""
        batch = self._cache.draw(share.count, unet.UNCONDITIONAL, share.generator)
        noise = torch.randn(batch.latents.shape, generator=share.generator)
        sigmas = uniform_levels(
            offset=share.offset, count=share.count, total=share.total, generator=share.generator
        )
        noisy = torch.lerp(batch.latents, noise, _over_latents(sigmas)).to(self._device)
        sigmas = sigmas.to(self._device)
        told = {name: values.to(self._device) for name, values in batch.conditions.items()}
        with CountedZeros():
            predicted = self.network(
                hidden_states=noisy,
                timestep=SCHEDULE["num_train_timesteps"] * sigmas,
                encoder_hidden_states=told["text"],
                pooled_projections=told["pooled"],
            ).sample
        return functional.mse_loss(predicted, self._teacher.direction(noisy, sigmas, told[TAUGHT]))


class Teacher:
    """What the embedded UNet, which predicts velocities of a diffusion, says of a flow."""

    def __init__(self, network: UNet2DConditionModel) -> None:
        self._network = network.eval().requires_grad_(requires_grad=False)
        picture = DDIMScheduler(**unet.SCHEDULE).alphas_cumprod.sqrt()
        noise = (1 - picture.square()).sqrt()
        # A flow has as much noise for as much picture at this level.
        self._levels = (noise / (picture + noise)).numpy()

    @torch.no_grad()
    def direction(self, noisy: Tensor, sigmas: Tensor, told: Tensor) -> Tensor:
        """The mean of noise less picture, given the noisy latents of a flow.

        Args:
            noisy: [count, 4, 16, 16], (1 - sigma) picture + sigma noise.
            sigmas: [count], above 0. Those above the teacher's noisiest step are taken for it, as
                its own sampler does, which begins with nothing but noise.
            told: [count, 77, 128], the states of its texts.
        """
        timesteps = np.interp(sigmas.cpu(), self._levels, np.arange(len(self._levels)))
        known = sigmas.clamp(float(self._levels[0]), float(self._levels[-1]))
        size, known_size = torch.hypot(1 - sigmas, sigmas), torch.hypot(1 - known, known)
        diffused = noisy / _over_latents(size)
        times = torch.from_numpy(timesteps).to(noisy)
        velocity: Tensor = self._network(diffused, times, told).sample
        picture = (
            _over_latents((1 - known) / known_size) * diffused
            - _over_latents(known / known_size) * velocity
        )
        direction: Tensor = (noisy - picture) / _over_latents(sigmas)
        return direction


def uniform_levels(*, offset: int, count: int, total: int, generator: torch.Generator) -> Tensor:
    """Noise levels [count] between `LOWEST` and 1: one from each of `total` equal intervals, from
    number `offset` on. All alike, as the steps of a sampler are."""
    position = torch.arange(offset, offset + count, dtype=torch.float32)
    position += torch.rand(count, generator=generator)
    return LOWEST + (1 - LOWEST) * position / total


def _over_latents(values: Tensor) -> Tensor:
    return values[:, None, None, None]
