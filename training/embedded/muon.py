"""An optimiser of a transformer's matrices (Muon, Keller Jordan 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor

MOMENTUM: Final = 0.95
_ITERATIONS: Final = 5
_QUINTIC: Final = (3.4445, -4.7750, 2.0315)
"""Of the Newton-Schulz iteration: pushes all singular values near 1 in a few steps."""


class Muon(torch.optim.Optimizer):
    """Momentum whose direction is made orthogonal: all that a matrix can do changes alike.

    `torch.optim.Muon` computes in bfloat16, which is slower than a training step on a processor
    that does not have it. This one computes in the matrices' own precision, many of a shape at
    once. The steps have the size of AdamW's, so that both take one learning rate.
    """

    def __init__(self, matrices: Iterable[Tensor], *, lr: float) -> None:
        super().__init__(matrices, {"lr": lr})

    # A closure, which torch's own optimisers take, is not needed here.
    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Any]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in shapes.items():
                directions = orthogonal(
                    torch.stack([self._direction(one, one.grad) for one in matrices])
                )
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                torch._foreach_add_(matrices, list(directions.unbind()), alpha=-rate)

    def _direction(self, matrix: Tensor, gradient: Tensor) -> Tensor:
        """The gradient with momentum, as Nesterov looks ahead."""
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        momentum: Tensor = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(momentum, MOMENTUM)


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices [n, rows, columns] with the same singular vectors, whose values are near 1.

    A Newton-Schulz iteration on the smaller of the two squares: what it multiplies the matrices by.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonal(matrices.mT).mT
    values = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    square = values @ values.mT
    identity = torch.eye(square.shape[1], dtype=square.dtype, device=square.device)
    product = identity.expand_as(square)
    linear, cubic, quintic = _QUINTIC
    for _ in range(_ITERATIONS):
        factor = torch.baddbmm(square, square, square, beta=cubic, alpha=quintic)
        factor += linear * identity
        product = factor @ product
        square = factor @ square @ factor
    result: Tensor = product @ values
    return result
