"""Pictures by a pipeline, as its catalog entry suggests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from models.catalog import Defaults

_PIXELS = 4 * 512 * 512
_ROWS = 16


def draw(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    side: int,
    defaults: Defaults,
) -> Iterator[Image.Image]:
    """One picture of ``side`` x ``side`` pixels per prompt; its noise comes from its seed alone."""
    pipeline.set_progress_bar_config(disable=True)
    batch = max(1, min(_ROWS, _PIXELS // side**2))
    for start in range(0, len(prompts), batch):
        part = slice(start, start + batch)
        yield from pipeline(
            list(prompts[part]),
            width=side,
            height=side,
            num_inference_steps=defaults.num_inference_steps,
            guidance_scale=defaults.guidance_scale,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds[part]],
        ).images
