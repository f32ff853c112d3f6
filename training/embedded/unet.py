"""The UNet stage: learns to denoise latents, told what is in the picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional

from training.embedded.cache import Cache, load_cache
from training.embedded.loop import Share, load_trained
from training.timesteps import stratified_timesteps

ARCHITECTURE: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (32, 64, 128),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    # This is the number of heads, whatever the name says: 32 channels each.
    "attention_head_dim": (1, 2, 4),
    "cross_attention_dim": 128,
    "norm_num_groups": 16,
    # A pooled caption joins the time embedding: the highest resolution has no cross-attention.
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 4,
}
"""Small and narrow: at this budget on a CPU more samples are worth more than more channels."""

SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.02,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "clip_sample": False,
}


UNCONDITIONAL = 0.1
"""Share of samples with an empty caption, for classifier-free guidance."""


@dataclass(frozen=True, slots=True)
class UNetPlan:
    """Train on a cache, from scratch or from the UNet in a directory."""

    cache: Path
    initial: Path | None

    def learner(self, device: torch.device) -> UNetLearner:
        unet = (
            UNet2DConditionModel(**ARCHITECTURE)
            if self.initial is None
            else UNet2DConditionModel.from_pretrained(self.initial, dtype=torch.float32)
        )
        return UNetLearner(unet.to(device), load_cache(self.cache), device)


class UNetLearner:
    """Mean squared error of the velocity (Salimans and Ho 2022, arXiv:2202.00512).

    Unweighted: a weighting such as min-SNR takes weight from the noisiest steps, and those are
    where the text decides what the picture will be.
    """

    def __init__(self, network: UNet2DConditionModel, cache: Cache, device: torch.device) -> None:
        self.network = network
        self._cache, self._device = cache, device
        self._scheduler = DDIMScheduler(**SCHEDULE)

    def loss(self, share: Share) -> Tensor:
        """The loss of freshly drawn latents, noise and timesteps."""
        batch = self._cache.draw(share.count, UNCONDITIONAL, share.generator)
        latents, captions = batch.latents, batch.conditions["text"]
        noise = torch.randn(latents.shape, generator=share.generator)
        timesteps = stratified_timesteps(
            self._scheduler.config.num_train_timesteps,
            offset=share.offset,
            count=share.count,
            total=share.total,
            generator=share.generator,
        )
        noisy = self._scheduler.add_noise(latents, noise, timesteps)
        target = self._scheduler.get_velocity(latents, noise, timesteps)
        predicted = self.network(
            noisy.to(self._device), timesteps.to(self._device), captions.to(self._device)
        ).sample
        return functional.mse_loss(predicted, target.to(self._device))


def trained_unet(checkpoint: Path) -> UNet2DConditionModel:
    """The averaged UNet of a checkpoint."""
    unet = UNet2DConditionModel(**ARCHITECTURE)
    load_trained(checkpoint, unet)
    return unet.eval()
