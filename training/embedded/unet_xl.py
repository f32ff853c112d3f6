"""The UNets of Stable Diffusion XL's format, base and refiner: they go on from the embedded one.

What is new to them is where the text comes in: from two encoders, or from the second alone; and a
pooled text, with numbers about the picture, in place of an attention over all tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from torch.nn import functional

from training.embedded import unet
from training.embedded.cache import SHARP, SOFT, Cache, load_cache
from training.embedded.loop import Share, load_trained
from training.embedded.scenes import SIDE
from training.timesteps import stratified_timesteps

WIDTH: Final = 128
"""Of a text encoder's states, and of its pooled text."""
_NUMBER_WIDTH: Final = 32
_BASE_NUMBERS, _REFINER_NUMBERS = 6, 5
REFINED_STEPS: Final = 400
"""The refiner learns these of the 1000 noise levels. An ensemble hands over at 200, and img2img of
the refiner alone begins, by its default strength, at 300."""
_USUAL_SHARE: Final = 0.5
"""Samples that have the numbers of a request that gives none; the others' mean nothing."""

BASE: dict[str, Any] = {
    **unet.ARCHITECTURE,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": _NUMBER_WIDTH,
    "cross_attention_dim": 2 * WIDTH,
    "projection_class_embeddings_input_dim": WIDTH + _BASE_NUMBERS * _NUMBER_WIDTH,
}
del BASE["addition_embed_type_num_heads"]
REFINER: dict[str, Any] = {
    **BASE,
    "cross_attention_dim": WIDTH,
    "projection_class_embeddings_input_dim": WIDTH + _REFINER_NUMBERS * _NUMBER_WIDTH,
}


def warm_unet(source: UNet2DConditionModel, *, refiner: bool) -> UNet2DConditionModel:
    """All that the embedded UNet knows. To the first encoder it does not listen yet, and the pooled
    text's embedding knows nothing: see `fit_pooled`."""
    network = UNet2DConditionModel(**(REFINER if refiner else BASE))
    known = source.state_dict()
    state = network.state_dict()
    for name, fresh in state.items():
        if name.startswith("add_embedding."):
            continue
        value = known[name]
        if value.ndim == fresh.ndim + 2:
            value = value[:, :, 0, 0]
        if value.shape != fresh.shape:
            value = functional.pad(value, (fresh.shape[1] - value.shape[1], 0))
        state[name] = value
    network.load_state_dict(state)
    return network.eval()


def fit_pooled(
    network: UNet2DConditionModel,
    source: UNet2DConditionModel,
    conditions: dict[str, Tensor],
    *,
    updates: int,
    batch: int = 256,
) -> float:
    """Teach the pooled text's embedding to say what the embedded UNet's attention over all tokens
    said of the same captions.

    Args:
        network: of `warm_unet`; its `add_embedding` is changed.
        source: what it was made of.
        conditions: "text" [C, 77, 128 or 256] and "pooled" [C, 128] of captions.
        updates: how long to try.
        batch: captions in each.

    Returns:
        The error of the last updates, relative to the variance of what is to be learned.
    """
    count = len(conditions["pooled"])
    refiner = network.config.cross_attention_dim == WIDTH
    with torch.no_grad():
        wanted = torch.cat(
            [
                source.add_embedding(part[..., -WIDTH:].float())
                for part in torch.split(conditions["text"], batch)
            ]
        )
    spread = (wanted - wanted.mean(0)).square().mean()
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(network.add_embedding.parameters(), weight_decay=0.0)
    error = torch.ones(())
    for update in range(updates):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1 - update / updates)
        rows = torch.randint(count, (batch,), generator=generator)
        scores = torch.lerp(
            torch.tensor(SOFT), torch.tensor(SHARP), torch.rand(batch, generator=generator)
        )
        numbers = _numbers(batch, generator, scores if refiner else None)
        given = torch.cat(
            [
                conditions["pooled"][rows].float(),
                network.add_time_proj(numbers.flatten()).reshape(batch, -1),
            ],
            dim=1,
        )
        loss = (network.add_embedding(given) - wanted[rows]).square().mean() / spread
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        error = error.lerp(loss.detach(), 0.05)
    return float(error)


@dataclass(frozen=True, slots=True)
class XLPlan:
    """Train on a cache, from the UNet in a directory."""

    cache: Path
    initial: Path

    def learner(self, device: torch.device) -> XLLearner:
        network = UNet2DConditionModel.from_pretrained(self.initial, dtype=torch.float32)
        return XLLearner(network.to(device), load_cache(self.cache), device)


class XLLearner:
    """Mean squared error of the velocity: of the base at all noise levels, of the refiner at the
    lowest."""

    def __init__(self, network: UNet2DConditionModel, cache: Cache, device: torch.device) -> None:
        self.network = network
        self._cache, self._device = cache, device
        self._scheduler = DDIMScheduler(**unet.SCHEDULE)
        self._refiner = network.config.cross_attention_dim == WIDTH

    def loss(self, share: Share) -> Tensor:
        """The loss of freshly drawn latents, noise, timesteps and numbers."""
        batch = self._cache.draw(share.count, unet.UNCONDITIONAL, share.generator)
        noise = torch.randn(batch.latents.shape, generator=share.generator)
        timesteps = stratified_timesteps(
            REFINED_STEPS if self._refiner else self._scheduler.config.num_train_timesteps,
            offset=share.offset,
            count=share.count,
            total=share.total,
            generator=share.generator,
        )
        noisy = self._scheduler.add_noise(batch.latents, noise, timesteps)
        target = self._scheduler.get_velocity(batch.latents, noise, timesteps)
        numbers = _numbers(share.count, share.generator, batch.scores if self._refiner else None)
        predicted = self.network(
            noisy.to(self._device),
            timesteps.to(self._device),
            batch.conditions["text"].to(self._device),
            added_cond_kwargs={
                "text_embeds": batch.conditions["pooled"].to(self._device),
                "time_ids": numbers.to(self._device),
            },
        ).sample
        return functional.mse_loss(predicted, target.to(self._device))


def _numbers(count: int, generator: torch.Generator, scores: Tensor | None) -> Tensor:
    """The numbers about a picture: original size and crop, then the target size or, of the refiner,
    the aesthetic score. Half of the rows have those of an ordinary request; in the others, all but
    the score are drawn by lot, so that a client's numbers do no harm. [count, 6 or 5]."""
    usual = torch.tensor([SIDE, SIDE, 0, 0, SIDE, SIDE], dtype=torch.float32)
    largest = torch.tensor([4 * SIDE, 4 * SIDE, SIDE, SIDE, 4 * SIDE, 4 * SIDE])
    drawn = (torch.rand(count, len(usual), generator=generator) * largest).round()
    ordinary = torch.rand(count, 1, generator=generator) < _USUAL_SHARE
    numbers = torch.where(ordinary, usual, drawn)
    if scores is None:
        return numbers
    return torch.cat([numbers[:, :4], scores[:, None]], dim=1)


def trained_xl(checkpoint: Path, *, refiner: bool) -> UNet2DConditionModel:
    """The averaged UNet of a checkpoint."""
    network = UNet2DConditionModel(**(REFINER if refiner else BASE))
    load_trained(checkpoint, network)
    return network.eval()
