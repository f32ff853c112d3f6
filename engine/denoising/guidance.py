"""Guidance: how many rows a job has at each step, and what becomes of their predictions."""

from __future__ import annotations

from dataclasses import dataclass

import torch

# So that 0.3 of 10 steps is 3 of them, whatever the last bit of the quotient.
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class SkipLayers:
    """Skip-layer guidance of Stable Diffusion 3.5: away from what the denoiser predicts without
    some of its layers.

    Attributes:
        layers: the numbers of the transformer blocks that are left out, from 0.
        scale: the weight.
        start: fraction of the steps after which it begins, 0 to 1; likewise ``end``, at which it
            ends. As with diffusers' ``skip_layer_guidance_start`` and ``skip_layer_guidance_stop``,
            it is evaluations of the denoiser that are counted: a second-order solver has two a
            step, so that both come in its first half.
    """

    layers: tuple[int, ...]
    scale: float
    start: float
    end: float

    def active(self, evaluation: int, steps: int) -> bool:
        """Whether evaluation ``evaluation`` (from 0) of a schedule of ``steps`` steps has it."""
        return steps * self.start < evaluation < steps * self.end


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
        skip_layers: what steps with guidance have beside it, if anything.
    """

    scale: float
    start: float = 0.0
    end: float = 1.0
    rescale: float = 0.0
    skip_layers: SkipLayers | None = None

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
        prompt), ``[3, ...]`` (and the prompt without some layers), or ``[1, ...]``, which passes
        unchanged."""
        if len(predictions) == 1:
            return predictions
        negative, positive, *skipped = predictions.chunk(len(predictions))
        guided = negative + self.scale * (positive - negative)
        if skipped and self.skip_layers is not None:
            guided = guided + (positive - skipped[0]) * self.skip_layers.scale
        if self.rescale == 0:
            return guided
        rescaled = guided * (positive.std() / guided.std())
        return self.rescale * rescaled + (1 - self.rescale) * guided
