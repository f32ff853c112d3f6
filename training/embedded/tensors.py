"""Pictures as tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from training.embedded.scenes import Pixels


def to_tensor(pixels: list[Pixels]) -> Tensor:
    """RGB pictures [64, 64, 3], 0..255, as networks take them: [B, 3, 64, 64], -1..1."""
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(batch: Tensor) -> list[Pixels]:
    """The inverse of `to_tensor`, rounded and clipped."""
    scaled = ((batch.float().clamp(-1, 1) + 1) * 127.5).round()
    return list(scaled.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy())
