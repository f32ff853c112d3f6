"""The two text encoders of the larger formats, made of the one that the embedded model has.

These formats take what leaves the layer before the last, not normalised. The embedded UNet learned
from the last layer's states, normalised. So the second encoder gets two layers more: one that
normalises and one that passes on, which makes the states before the last layer what the UNet knows.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

QUIET: Final = 1 / 64
"""What the residual stream is multiplied by before it is normalised. A layer can only add to the
stream, so this share of it stays in the sum; its own layers normalise first and notice nothing."""


def first_encoder(source: CLIPTextModel) -> CLIPTextModel:
    """In the place of CLIP-L: the same weights, whose first layer's states are what is taken."""
    encoder = CLIPTextModel(_config(source))
    encoder.load_state_dict(source.state_dict())
    return encoder.eval()


def first_encoder_projected(source: CLIPTextModel) -> CLIPTextModelWithProjection:
    """The same with a projection, which changes nothing: the form that Stable Diffusion 3 takes."""
    encoder = CLIPTextModelWithProjection(_config(source))
    _inner(encoder).load_state_dict(_inner(source).state_dict())
    nn.init.eye_(encoder.text_projection.weight)
    return encoder.eval()


@torch.no_grad()
def second_encoder(source: CLIPTextModel) -> CLIPTextModelWithProjection:
    """In the place of CLIP-G: the states before its last layer are the source's last hidden states,
    but for `QUIET` of what they were before they were normalised."""
    config = source.config
    encoder = CLIPTextModelWithProjection(
        _config(
            source,
            num_hidden_layers=config.num_hidden_layers + 2,
            # As much quieter as the stream that it is compared with.
            layer_norm_eps=config.layer_norm_eps * QUIET**2,
        )
    )
    inner, given = _inner(encoder), _inner(source)
    inner.embeddings.load_state_dict(given.embeddings.state_dict())
    for embedding in (inner.embeddings.token_embedding, inner.embeddings.position_embedding):
        embedding.weight *= QUIET
    *known, normalising, passing = inner.encoder.layers
    for layer, original in zip(known, given.encoder.layers, strict=True):
        layer.load_state_dict(original.state_dict())
        for linear in (layer.self_attn.out_proj, layer.mlp.fc2):
            linear.weight *= QUIET
            linear.bias *= QUIET
    for layer in (normalising, passing):
        for linear in (layer.self_attn.out_proj, layer.mlp.fc2):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
    normalising.layer_norm2.load_state_dict(given.final_layer_norm.state_dict())
    _make_identity(normalising.mlp.fc1, normalising.mlp.fc2)
    nn.init.eye_(encoder.text_projection.weight)
    return encoder.eval()


def _make_identity(up: nn.Linear, down: nn.Linear) -> None:
    """gelu(x) - gelu(-x) = x: a hidden layer twice as wide as its input can hand it through."""
    width = up.in_features
    for linear in (up, down):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    for sign, first in ((1.0, 0), (-1.0, width)):
        rows = torch.arange(width)
        up.weight[first + rows, rows] = sign
        down.weight[rows, first + rows] = sign


def _config(source: CLIPTextModel, **changes: float) -> CLIPTextConfig:
    values = source.config.to_dict() | changes
    for name in ("_name_or_path", "architectures", "dtype", "transformers_version"):
        values.pop(name, None)
    return CLIPTextConfig(**values)


def _inner(encoder: CLIPTextModel | CLIPTextModelWithProjection) -> Any:
    """The transformer itself, which one of the classes holds and the other is."""
    return getattr(encoder, "text_model", encoder)
