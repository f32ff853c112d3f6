"""The easiest pictures to tell apart: noise around one colour each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


def paint(folder: Path, count: int, colours: dict[str, tuple[int, int, int]] = COLOURS) -> None:
    """A folder per colour with ``count`` pictures of 20 x 24 pixels in each."""
    noise = np.random.default_rng(0)
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            values = np.array(colour) + noise.normal(0, 20, (24, 20, 3))
            picture = Image.fromarray(values.clip(0, 255).astype(np.uint8))
            picture.save(folder / name / f"{number}.png")
