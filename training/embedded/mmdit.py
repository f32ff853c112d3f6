"""The transformer in the format of Stable Diffusion 3, which begins with nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from training.embedded.loop import load_trained

PATCH: Final = 2
ARCHITECTURE: dict[str, Any] = {
    "sample_size": 16,
    "patch_size": PATCH,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 5,
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


@contextmanager
def counting_zeros(pipeline: StableDiffusion3Pipeline) -> Iterator[dict[str, int]]:
    """Of a pipeline without T5, count one zero token: a third of the time at this size, and the
    same pictures to rounding.

    Yields:
        What the pipeline is to be called with.
    """
    transformer = pipeline.transformer
    forward = transformer.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        with CountedZeros():
            return forward(*args, **kwargs)

    transformer.forward = counted
    try:
        yield {"max_sequence_length": 1}
    finally:
        transformer.forward = forward


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
