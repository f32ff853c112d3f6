"""The augmentation of pictures: cut, scaled, blurred, compressed, with a little noise."""

from __future__ import annotations

import io
import random

import numpy as np
from PIL import Image, ImageFilter

MARGIN = 0.1
"""How far a cut-out may reach over the edge of the picture, as a share of its side."""
SCALES = (0.85, 1.1)
"""Smallest and largest cut-out, as a share of the side."""
_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def augment(picture: Image.Image, size: tuple[int, int], rng: random.Random) -> Image.Image:
    """An RGB picture of `size` (width, height), changed in ways that leave its label alone."""
    picture = _cut(picture, size, rng) if rng.random() < 0.7 else picture.resize(size)
    if rng.random() < 0.2:
        small = (round(size[0] * rng.uniform(0.5, 1)), round(size[1] * rng.uniform(0.5, 1)))
        picture = picture.resize(small, rng.choice(_FILTERS)).resize(size, rng.choice(_FILTERS))
    if rng.random() < 0.3:
        radius = rng.uniform(0.2, 1.0) * size[0] / 64
        picture = picture.filter(ImageFilter.GaussianBlur(radius))
    if rng.random() < 0.6:
        picture = _noisy(picture, rng)
    if rng.random() < 0.3:
        picture = _compressed(picture, rng)
    return picture


def _cut(picture: Image.Image, size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A part of the picture, whose edges go on beyond it."""
    across, down = (round(side * MARGIN) for side in picture.size)
    edged = Image.fromarray(
        np.pad(np.asarray(picture), ((down, down), (across, across), (0, 0)), mode="edge")
    )
    scale, slant = rng.uniform(*SCALES), rng.uniform(0.96, 1.04)
    wide = min(picture.width * scale * slant, edged.width)
    high = min(picture.height * scale / slant, edged.height)
    left, top = rng.uniform(0, edged.width - wide), rng.uniform(0, edged.height - high)
    box = (left, top, min(left + wide, edged.width), min(top + high, edged.height))
    return edged.resize(size, rng.choice(_FILTERS), box=box)


def _noisy(picture: Image.Image, rng: random.Random) -> Image.Image:
    noise = np.random.default_rng(rng.getrandbits(32))
    values = np.asarray(picture, dtype=np.float32)
    gain, lift, strength = rng.uniform(0.85, 1.15), rng.uniform(-12, 12), rng.uniform(0, 16)
    values = (values - 127.5) * gain + 127.5 + lift
    values += strength * noise.standard_normal(values.shape, dtype=np.float32)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def _compressed(picture: Image.Image, rng: random.Random) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=rng.randint(40, 95))
    return Image.open(file).convert("RGB")
