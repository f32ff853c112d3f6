"""Guidance: how many rows a job has at each step, and what becomes of their predictions."""

from __future__ import annotations

from dataclasses import dataclass

import torch

# So that 0.3 of 10 steps is 3 of them, whatever the last bit of the quotient.
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Guidance:
    """Classifier-free guidance (Ho & Salimans 2022, https://arxiv.org/abs/2207.12598) over an
    interval of the noise schedule (Kynkaanniemi et al. 2024, https://arxiv.org/abs/2404.07724).

    Attributes:
        scale: the weight w; 1 or below is no guidance.
        start: fraction of the noise schedule at which guidance begins, 0 to 1.
        end: fraction at which it ends, likewise. A step has guidance if the whole of it lies
            within, as with diffusers' ``control_guidance_start`` and ``control_guidance_end``.
        rescale: 0 to 1: how much of the standard deviation that guidance adds is taken back (Lin et
            al. 2023, https://arxiv.org/abs/2305.08891, section 3.4).
    """

    scale: float
    start: float = 0.0
    end: float = 1.0
    rescale: float = 0.0

    @property
    def enabled(self) -> bool:
        """Whether any step may have guidance."""
        return self.scale > 1

    def active(self, step: int, steps: int) -> bool:
        """Whether step ``step`` (from 0) of the ``steps`` of the full schedule has guidance."""
        within = step / steps >= self.start - _TOLERANCE
        return self.enabled and within and (step + 1) / steps <= self.end + _TOLERANCE

    def combine(self, predictions: torch.Tensor) -> torch.Tensor:
        """One prediction ``[1, ...]`` out of those of a job's rows: ``[2, ...]`` (negative prompt,
        prompt), or ``[1, ...]``, which passes unchanged."""
        if len(predictions) == 1:
            return predictions
        negative, positive = predictions.chunk(2)
        guided = negative + self.scale * (positive - negative)
        if self.rescale == 0:
            return guided
        rescaled = guided * (positive.std() / guided.std())
        return self.rescale * rescaled + (1 - self.rescale) * guided
