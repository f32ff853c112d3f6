"""Checkpoints in the old layout: one file with all of a pipeline, under other names."""

from __future__ import annotations

import re
from pathlib import Path

from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from tests.unit.models.tiny import BLOCKS, LAYERS


def save_single_file(pipeline: StableDiffusionPipeline, file: Path) -> None:
    """Write the pipeline's weights under the names of the original Stable Diffusion code."""
    state = {
        f"model.diffusion_model.{unet_key(key)}": value
        for key, value in pipeline.unet.state_dict().items()
    }
    for key, value in pipeline.vae.state_dict().items():
        name = _vae_key(key)
        # Attention was made of 1 x 1 convolutions.
        convolution = ".attn_1." in name and value.ndim == 2
        state[f"first_stage_model.{name}"] = value[..., None, None] if convolution else value
    for key, value in pipeline.text_encoder.state_dict().items():
        prefix = "" if key.startswith("text_model.") else "text_model."
        state[f"cond_stage_model.transformer.{prefix}{key}"] = value
    save_file({key: value.contiguous().clone() for key, value in state.items()}, file)


_UNET_LAYERS = (
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("conv_in", "input_blocks.0.0"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
    ("mid_block.resnets.0", "middle_block.0"),
    ("mid_block.attentions.0", "middle_block.1"),
    ("mid_block.resnets.1", "middle_block.2"),
)
_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def unet_key(key: str) -> str:
    is_resnet = ".resnets." in key
    for ours, theirs in _UNET_LAYERS:
        if key.startswith(ours + "."):
            key = theirs + key.removeprefix(ours)
    match = re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions)\.(\d)\.(.*)", key)
    if match:
        side, block, kind, layer, rest = match.groups()
        number = int(block) * (LAYERS + 1) + int(layer) + (1 if side == "down" else 0)
        place = "input_blocks" if side == "down" else "output_blocks"
        key = f"{place}.{number}.{0 if kind == 'resnets' else 1}.{rest}"
    key = re.sub(
        r"down_blocks\.(\d)\.downsamplers\.0\.conv",
        lambda found: f"input_blocks.{(int(found[1]) + 1) * (LAYERS + 1)}.0.op",
        key,
    )
    # The only block with an upsampler has attentions as well, which come before it.
    key = re.sub(
        r"up_blocks\.(\d)\.upsamplers\.0\.conv",
        lambda found: f"output_blocks.{int(found[1]) * (LAYERS + 1) + LAYERS}.2.conv",
        key,
    )
    if is_resnet:
        for ours, theirs in _UNET_RESNET.items():
            key = key.replace(f".{ours}.", f".{theirs}.")
    return key


def _vae_key(key: str) -> str:
    key = re.sub(r"up_blocks\.(\d)\.", lambda found: f"up.{BLOCKS - 1 - int(found[1])}.", key)
    for ours, theirs in (
        ("down_blocks.", "down."),
        ("mid_block.resnets.0", "mid.block_1"),
        ("mid_block.resnets.1", "mid.block_2"),
        ("mid_block.attentions.0", "mid.attn_1"),
        (".resnets.", ".block."),
        ("downsamplers.0", "downsample"),
        ("upsamplers.0", "upsample"),
        ("conv_shortcut", "nin_shortcut"),
        ("conv_norm_out", "norm_out"),
        ("group_norm", "norm"),
        ("to_out.0", "proj_out"),
        ("to_q", "q"),
        ("to_k", "k"),
        ("to_v", "v"),
    ):
        key = key.replace(ours, theirs)
    return key
