"""The timesteps, that is the noise levels, of an update."""

from __future__ import annotations

import torch
from torch import Tensor


def stratified_timesteps(
    steps: int, *, offset: int, count: int, total: int, generator: torch.Generator
) -> Tensor:
    """One timestep from each of `total` equal intervals: those from `offset` on.

    The loss varies much less than with independent draws.

    Args:
        steps: how many timesteps there are.
        offset: number of the first sample within the update.
        count: samples of this worker.
        total: samples of all workers.

    Returns:
        Shape [count], 0..steps-1.
    """
    position = torch.arange(offset, offset + count, dtype=torch.float32)
    position += torch.rand(count, generator=generator)
    return (position * steps / total).long().clamp_(max=steps - 1)


def logit_normal(*, offset: int, count: int, total: int, generator: torch.Generator) -> Tensor:
    """Noise levels [count] between 0 and 1, most of them in the middle: one from each of `total`
    intervals of equal probability, from number `offset` on."""
    position = torch.arange(offset, offset + count, dtype=torch.float32)
    position += torch.rand(count, generator=generator)
    # The ends of the normal distribution are cut off: there lies nothing.
    levels: Tensor = torch.special.ndtri((position / total).clamp(1e-4, 1 - 1e-4)).sigmoid()
    return levels
