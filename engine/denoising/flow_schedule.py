"""The noise schedule of a job whose denoiser was trained by flow matching.

Lipman et al. (2022), https://arxiv.org/abs/2210.02747, in the form of Stable Diffusion 3 (Esser et
al. 2024, https://arxiv.org/abs/2403.03206): noisy latents are (1 - sigma) x + sigma n, of a
picture's latents x and noise n, and the denoiser predicts n - x.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift

from engine.denoising.noise_schedule import NoiseSchedule


class FlowSchedule(NoiseSchedule):
    """Wraps one of diffusers' schedulers for flow matching.

    Args:
        scheduler: likewise the others as of ``NoiseSchedule``.
    """

    def start(self, noise: torch.Tensor, image: torch.Tensor | None = None) -> torch.Tensor:
        return noise if image is None else self.renoise(image, noise, 0)

    def scale(self, latents: torch.Tensor, index: int) -> torch.Tensor:
        return latents

    def renoise(self, image: torch.Tensor, noise: torch.Tensor, index: int) -> torch.Tensor:
        # As the schedulers' own ``scale_noise``, which would take up their tables to the device.
        sigma = self._sigma(index)
        return sigma * noise + (1.0 - sigma) * image

    def predict_original(
        self, prediction: torch.Tensor, sample: torch.Tensor, index: int
    ) -> torch.Tensor:
        """The final latents, as evaluation ``index`` foresees them: on the straight line."""
        return sample - self._sigma(index) * prediction

    def _skipped(self, strength: float) -> int:
        """Stable Diffusion 3's pipelines round the other way than those before: 28 steps at 0.6 run
        17, and not 16."""
        return int(max(self.steps - min(self.steps * strength, self.steps), 0))

    def _sigma(self, index: int) -> torch.Tensor:
        sigma: torch.Tensor = self._scheduler.sigmas[self.offset + index]
        return sigma


def dynamic_shift(config: Any, tokens: int) -> float | None:
    """By how much the schedule of a picture of so many tokens is shifted (``mu``); None where it is
    the same for all sizes.

    Args:
        config: the scheduler's.
    """
    if not config.get("use_dynamic_shifting"):
        return None
    # The numbers are those that the stock pipelines take where the config has none.
    mu: float = calculate_shift(
        tokens,
        config.get("base_image_seq_len", 256),
        config.get("max_image_seq_len", 4096),
        config.get("base_shift", 0.5),
        config.get("max_shift", 1.16),
    )
    return mu
