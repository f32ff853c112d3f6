"""Checks for pictures that went wrong: without colour, or without anything on them.

Both take a sample of pixels on a grid, so that a large picture takes no longer than one of
512 x 512. How the thresholds were found, with figures: docs/screening.md.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import PIL.Image

from contract.screening import CheckName

# Hasler and Suesstrunk's observers called pictures of 0 not colourful and of 15 slightly so. What
# an autoencoder makes of a gray picture is a little coloured: up to 11.
LEAST_COLOURFULNESS: Final = 12.0
# An autoencoder makes up to 3 of one plain colour, and 5 or more of anything drawn.
LEAST_CONTRAST: Final = 4.0

_SAMPLED_PIXELS: Final = 512 * 512


class Grayscale:
    """Finds pictures without colour to speak of; blank gray ones too."""

    name: CheckName = "grayscale"

    def look(self, picture: PIL.Image.Image) -> str | None:
        value = colourfulness(picture)
        return f"colourfulness {value:.1f}" if value < LEAST_COLOURFULNESS else None


class Blank:
    """Finds pictures of one colour."""

    name: CheckName = "blank"

    def look(self, picture: PIL.Image.Image) -> str | None:
        value = contrast(picture)
        return f"contrast {value:.1f}" if value < LEAST_CONTRAST else None


def colourfulness(picture: PIL.Image.Image) -> float:
    """The metric M3 of Hasler and Suesstrunk (2003), https://doi.org/10.1117/12.477378, section 7,
    from 0 (gray) to about 190 (a saturated rainbow)."""
    red, green, blue = _sample(picture)
    red_green = red - green
    yellow_blue = (red + green) / 2 - blue
    spread = math.hypot(red_green.std(), yellow_blue.std())
    return spread + 0.3 * math.hypot(red_green.mean(), yellow_blue.mean())


def contrast(picture: PIL.Image.Image) -> float:
    """RMS contrast (Peli 1990, https://doi.org/10.1364/JOSAA.7.002032) over the three channels:
    the root of the mean of their variances, 0 to 127.5."""
    return math.sqrt(_sample(picture).var(axis=1).mean())


def _sample(picture: PIL.Image.Image) -> npt.NDArray[np.float32]:
    """Pixels of an RGB picture, ``[3, pixels]``, 0 to 255."""
    stride = math.ceil(math.sqrt(picture.width * picture.height / _SAMPLED_PIXELS))
    pixels = np.asarray(picture)[::stride, ::stride].reshape(-1, 3)
    return pixels.T.astype(np.float32, order="C")
