"""LoRAs of Stable Diffusion 3 in the format of kohya's trainer, which diffusers 0.42 does not read:
it loads nothing of them, and says nothing.

They have the names of the transformer in its authors' code, where the projections of query, key and
value are one layer, and shift and scale are in the other order in two places.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import torch

from models.errors import LoadError

PREFIX: Final = "lora_unet_"

_BLOCK = re.compile(r"joint_blocks_(?P<number>\d+)_(?P<part>(?:x|context)_block_\w+)")
_MATRIX = re.compile(rf"{PREFIX}(?P<layer>\w+)\.(?P<what>lora_down\.weight|lora_up\.weight|alpha)")
_IN_BLOCKS: Final[Mapping[str, tuple[str, ...]]] = {
    "x_block_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block_attn_proj": ("attn.to_out.0",),
    "x_block_attn2_qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "x_block_attn2_proj": ("attn2.to_out.0",),
    "x_block_mlp_fc1": ("ff.net.0.proj",),
    "x_block_mlp_fc2": ("ff.net.2",),
    "x_block_adaLN_modulation_1": ("norm1.linear",),
    "context_block_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "context_block_attn_proj": ("attn.to_add_out",),
    "context_block_mlp_fc1": ("ff_context.net.0.proj",),
    "context_block_mlp_fc2": ("ff_context.net.2",),
    "context_block_adaLN_modulation_1": ("norm1_context.linear",),
}
_ELSEWHERE: Final[Mapping[str, str]] = {
    "x_embedder_proj": "pos_embed.proj",
    "context_embedder": "context_embedder",
    "t_embedder_mlp_0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder_mlp_2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder_mlp_0": "time_text_embed.text_embedder.linear_1",
    "y_embedder_mlp_2": "time_text_embed.text_embedder.linear_2",
    "final_layer_linear": "proj_out",
    "final_layer_adaLN_modulation_1": "norm_out.linear",
}


class Converted(NamedTuple):
    """A LoRA's matrices by the names of diffusers, ``path.lora.down.weight`` and ``...up...``, and
    its alphas, ``path.alpha``."""

    state: dict[str, torch.Tensor]
    alphas: dict[str, float]


def from_kohya(state: Mapping[str, torch.Tensor], blocks: int) -> Converted:
    """Convert the transformer's part of a file.

    Args:
        state: its keys begin with ``PREFIX``.
        blocks: of the transformer.

    Raises:
        LoadError: a key is of something else.
    """
    converted = Converted({}, {})
    for key, tensor in state.items():
        match = _MATRIX.fullmatch(key)
        if match is None:
            raise LoadError(f"'{key[:120]}' is no matrix of a layer that Stable Diffusion 3 has.")
        paths = _paths(match["layer"])
        swapped = paths in (("norm_out.linear",), (_last_norm(blocks),))
        for index, path in enumerate(paths):
            match match["what"]:
                case "alpha":
                    converted.alphas[f"{path}.alpha"] = float(tensor)
                case "lora_down.weight":
                    converted.state[f"{path}.lora.down.weight"] = tensor
                case _:
                    part = tensor.chunk(len(paths))[index]
                    up = torch.cat(part.chunk(2)[::-1]) if swapped else part
                    converted.state[f"{path}.lora.up.weight"] = up
    return converted


def _paths(layer: str) -> tuple[str, ...]:
    """The layers of diffusers' transformer that one of the authors' has become."""
    if layer in _ELSEWHERE:
        return (_ELSEWHERE[layer],)
    match = _BLOCK.fullmatch(layer)
    if match is None or match["part"] not in _IN_BLOCKS:
        raise LoadError(f"Stable Diffusion 3 has no layer '{layer[:120]}'.")
    return tuple(
        f"transformer_blocks.{match['number']}.{path}" for path in _IN_BLOCKS[match["part"]]
    )


def _last_norm(blocks: int) -> str:
    """The layer of the last block, which gives no text, that has shift and scale swapped."""
    return f"transformer_blocks.{blocks - 1}.norm1_context.linear"
