"""What a refiner is worth: the same pictures without it and with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline
from PIL import Image

from training.embedded.captions import prompt
from training.embedded.measures import edge_sharpness, psnr
from training.embedded.pictures import GUIDANCE, STEPS
from training.embedded.scenes import Pixels
from training.embedded.world import World

RESTORED_FROM = 0.2
"""The strength of the noise that composites are restored from: a refiner's part of the levels."""
_BATCH = 23


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of both, and of real composites where it has a value for them."""

    without: float
    refined: float
    composites: float | None = None


def sharpness(
    without: Sequence[Pixels], refined: Sequence[Pixels], composites: Sequence[Pixels]
) -> Comparison:
    """How steep the edges are: see `edge_sharpness`."""
    plain, better, real = (
        round(float(np.mean([edge_sharpness(pixels) for pixels in pictures])), 4)
        for pictures in (without, refined, composites)
    )
    return Comparison(plain, better, real)


def restoration(
    base: Any, refiner: Any, world: World, composites: Sequence[tuple[str, Pixels]]
) -> Comparison:
    """How near composites are to what they were, in dB, after noise was added and taken away."""
    itself = StableDiffusionXLImg2ImgPipeline(**base.components, add_watermarker=False)
    itself.set_progress_bar_config(disable=True)
    return Comparison(_restored(itself, world, composites), _restored(refiner, world, composites))


def _restored(pipeline: Any, world: World, composites: Sequence[tuple[str, Pixels]]) -> float:
    ground = {subject.name: subject.held_out for subject in world.drawn}
    ratios = []
    for start in range(0, len(composites), _BATCH):
        part = composites[start : start + _BATCH]
        images = pipeline(
            prompt=[prompt(name, ground[name]) for name, _ in part],
            image=[Image.fromarray(pixels) for _, pixels in part],
            strength=RESTORED_FROM,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=[torch.Generator().manual_seed(start + n) for n in range(len(part))],
        ).images
        ratios += [
            psnr(pixels, np.asarray(image)) for (_, pixels), image in zip(part, images, strict=True)
        ]
    return round(float(np.mean(ratios)), 2)
