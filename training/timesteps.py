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
