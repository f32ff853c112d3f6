"""The transformer in the format of Stable Diffusion 3: flow matching, from nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from training.embedded.cache import Cache, load_cache
from training.embedded.loop import Share, load_trained
from training.embedded.unet import UNCONDITIONAL

PATCH: Final = 2
ARCHITECTURE: dict[str, Any] = {
    "sample_size": 16,
    "patch_size": PATCH,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 7,
    "attention_head_dim": 32,
    "num_attention_heads": 4,
    "caption_projection_dim": 128,
    # The states of two text encoders side by side, and their pooled texts.
    "joint_attention_dim": 256,
    "pooled_projection_dim": 256,
    "pos_embed_max_size": 16,
    "qk_norm": "rms_norm",
}
SCHEDULE: dict[str, Any] = {"num_train_timesteps": 1000, "shift": 1.0}
"""Without the shift that large pictures need, whose neighbouring latents say much the same."""

ABSENT_TOKENS: Final = 256
"""The stock pipeline has this many zeros in the place of what T5 would say."""


class CountedZeros(TorchFunctionMode):
    """One zero token in the place of all those that stand for T5.

    They have no positions, so that they are alike in every layer: one whose key counts as often in
    the softmax gives the same, at an eighth of the text tokens.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            query, key, value = args[:3]
            bias = query.new_zeros(key.shape[-2])
            bias[-1] = math.log(ABSENT_TOKENS)
            return func(query, key, value, attn_mask=bias.expand(1, 1, 1, -1))
        return func(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class FlowPlan:
    """Train on a cache, whose texts end in one zero token; from the weights in a directory."""

    cache: Path
    initial: Path

    def learner(self, device: torch.device) -> FlowLearner:
        network = SD3Transformer2DModel.from_pretrained(self.initial, dtype=torch.float32)
        return FlowLearner(
            without_empty_channels(network).to(device), load_cache(self.cache), device
        )


class FlowLearner:
    """Mean squared error of the direction from picture to noise (rectified flow, with the
    logit-normal noise levels of Esser and others 2024, arXiv:2403.03206)."""

    def __init__(self, network: SD3Transformer2DModel, cache: Cache, device: torch.device) -> None:
        self.network = network
        self._cache, self._device = cache, device

    def loss(self, share: Share) -> Tensor:
        """The loss of freshly drawn latents, noise and noise levels."""
        batch = self._cache.draw(share.count, UNCONDITIONAL, share.generator)
        noise = torch.randn(batch.latents.shape, generator=share.generator)
        sigmas = logit_normal(
            offset=share.offset, count=share.count, total=share.total, generator=share.generator
        )
        noisy = torch.lerp(batch.latents, noise, sigmas[:, None, None, None])
        with CountedZeros():
            predicted = self.network(
                hidden_states=noisy.to(self._device),
                timestep=(SCHEDULE["num_train_timesteps"] * sigmas).to(self._device),
                encoder_hidden_states=batch.conditions["text"].to(self._device),
                pooled_projections=batch.conditions["pooled"].to(self._device),
            ).sample
        return functional.mse_loss(predicted, (noise - batch.latents).to(self._device))


def logit_normal(*, offset: int, count: int, total: int, generator: torch.Generator) -> Tensor:
    """Noise levels [count] between 0 and 1, most of them in the middle: one from each of `total`
    intervals of equal probability, from number `offset` on."""
    position = torch.arange(offset, offset + count, dtype=torch.float32)
    position += torch.rand(count, generator=generator)
    # The ends of the normal distribution are cut off: there lies nothing.
    levels: Tensor = torch.special.ndtri((position / total).clamp(1e-4, 1 - 1e-4)).sigmoid()
    return levels


def new_transformer() -> SD3Transformer2DModel:
    """An untrained transformer that predicts nothing yet, for four channels."""
    network = SD3Transformer2DModel(**ARCHITECTURE)
    torch.nn.init.zeros_(network.proj_out.weight)
    torch.nn.init.zeros_(network.proj_out.bias)
    for block in network.transformer_blocks:
        for modulation in (block.norm1.linear, getattr(block.norm1_context, "linear", None)):
            if modulation is not None:
                torch.nn.init.zeros_(modulation.weight)
                torch.nn.init.zeros_(modulation.bias)
    torch.nn.init.zeros_(network.norm_out.linear.weight)
    torch.nn.init.zeros_(network.norm_out.linear.bias)
    return network.eval()


def with_empty_channels(network: SD3Transformer2DModel, channels: int) -> SD3Transformer2DModel:
    """The same transformer for latents of more channels, of which it neither sees nor changes the
    additional ones: they stay the noise that they are."""
    return _with_channels(network, channels)


def without_empty_channels(network: SD3Transformer2DModel) -> SD3Transformer2DModel:
    """The inverse: the transformer of the channels that say something."""
    return _with_channels(network, ARCHITECTURE["in_channels"])


@torch.no_grad()
def _with_channels(network: SD3Transformer2DModel, channels: int) -> SD3Transformer2DModel:
    changes = {"in_channels": channels, "out_channels": channels}
    other = SD3Transformer2DModel(**(ARCHITECTURE | changes))
    state = dict(network.state_dict())
    shapes = {
        "pos_embed.proj.weight": (network.inner_dim, -1, PATCH, PATCH),
        "proj_out.weight": (PATCH**2, -1, network.inner_dim),
        "proj_out.bias": (PATCH**2, -1),
    }
    for name, shape in shapes.items():
        value = state[name].reshape(shape)
        fresh = torch.zeros_like(other.state_dict()[name]).reshape(shape)
        both = min(value.shape[1], channels)
        fresh[:, :both] = value[:, :both]
        state[name] = fresh.reshape(other.state_dict()[name].shape)
    other.load_state_dict(state)
    return other.eval()


def trained_transformer(checkpoint: Path) -> SD3Transformer2DModel:
    """The averaged transformer of a checkpoint, for four channels."""
    network = new_transformer()
    load_trained(checkpoint, network)
    return network.eval()
