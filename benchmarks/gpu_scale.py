"""What is measured at real size, and how long."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.random_models import CONFIGS

# What MLPerf Inference's text-to-image benchmark asks SDXL not to draw.
_MLPERF_NEGATIVE = "normal quality, low quality, worst quality, low res, blurry, nsfw, nude"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A model and its measurements.

    Attributes:
        config: a folder with the configs of a pipeline's components.
        side: pixels.
        steps: of the uniform pictures.
        mixture: steps of the mixed pictures, in turn.
        batches: numbers of pictures for seconds per step.
        clients: of the closed loop.
        pictures: of each measurement in a closed loop, and offline, >= ``clients``.
        shares: arrival rates of the open loop, as shares of the throughput offline.
        seconds: that clients of the open loop come.
        repeats: of a timed call.
        matrix: rows and columns of the matrix products that measure the ceiling.
    """

    config: Path
    device: str = "cuda"
    dtype: torch.dtype = torch.float16
    side: int
    scheduler: str
    guidance: float
    negative_prompt: str | None = None
    steps: int = 20
    mixture: tuple[int, ...] = (10, 20, 50)
    batches: tuple[int, ...] = (1, 2, 4, 8, 16)
    clients: int = 8
    pictures: int = 48
    shares: tuple[float, ...] = (0.5, 0.7, 0.9)
    seconds: float = 60.0
    repeats: int = 3
    matrix: int = 8192


_LARGE = Scale(
    config=CONFIGS / "sdxl-base",
    side=1024,
    scheduler="euler",
    guidance=8.0,
    negative_prompt=_MLPERF_NEGATIVE,
    batches=(1, 2, 4, 8),
    pictures=32,
)
# By the model's name in the catalog. SDXL's steps, scheduler, guidance, size and negative prompt
# are those of MLPerf Inference.
SCALES: Final[dict[str, Scale]] = {
    "sd-1.5": Scale(config=CONFIGS / "sd-1.5", side=512, scheduler="ddim", guidance=7.5),
    "sdxl-base": _LARGE,
    "sd3-medium": replace(
        _LARGE, config=CONFIGS / "sd3-medium", guidance=7.0, negative_prompt="", steps=28
    ),
}

_NARROW_CLIP = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "projection_dim": 32,
}
_NARROW_UNET = {
    "block_out_channels": [32, 64],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "transformer_layers_per_block": 1,
    "sample_size": 8,
}
_NARROW: dict[str, dict[str, Any]] = {
    "text_encoder": _NARROW_CLIP,
    "text_encoder_2": _NARROW_CLIP,
    "text_encoder_3": {"d_model": 80, "d_ff": 64, "d_kv": 8, "num_heads": 4, "num_layers": 1},
    "transformer": {
        "sample_size": 8,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "caption_projection_dim": 32,
        "joint_attention_dim": 80,
        "pooled_projection_dim": 64,
        "pos_embed_max_size": 16,
    },
    "vae": {
        "block_out_channels": [32, 32],
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "layers_per_block": 1,
    },
}


def tiny(scale: Scale, folder: Path) -> Scale:
    """The same measurements of a narrow model whose configs go to ``folder``: every class and every
    line of code, within seconds on a CPU."""
    shutil.copytree(scale.config, folder, dirs_exist_ok=True)
    two_encoders = (folder / "text_encoder_2").is_dir()
    unet = {**_NARROW_UNET, "cross_attention_dim": 64 if two_encoders else 32}
    if two_encoders:
        # The pooled text, and six numbers of eight channels.
        unet |= {
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 32 + 6 * 8,
        }
    for component, changes in {**_NARROW, "unet": unet}.items():
        file = folder / component / "config.json"
        if file.is_file():
            known = json.loads(file.read_text(encoding="utf-8"))
            file.write_text(json.dumps({**known, **changes}), encoding="utf-8")
    return replace(
        scale,
        config=folder,
        side=32,
        steps=2,
        mixture=(1, 2, 3),
        batches=(1, 2),
        clients=3,
        pictures=6,
        shares=(0.5,),
        seconds=1.0,
        repeats=1,
        matrix=64,
    )
