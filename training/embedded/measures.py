"""Numbers about pictures."""

from __future__ import annotations

import math

import numpy as np

from training.embedded.scenes import Pixels
from training.embedded.world import Colour

BORDER = 4


def border_colour(pixels: Pixels) -> Colour:
    """The median RGB of a frame four pixels wide. Sprites reach into it only a little."""
    frame = np.ones(pixels.shape[:2], dtype=bool)
    frame[BORDER:-BORDER, BORDER:-BORDER] = False
    red, green, blue = np.median(pixels[frame], axis=0)
    return int(red), int(green), int(blue)


def nearest_colour(colour: Colour, colours: dict[str, Colour]) -> str:
    """The name of the nearest colour, by Euclidean distance in RGB."""
    return min(colours, key=lambda name: math.dist(colours[name], colour))


def psnr(original: Pixels, copy: Pixels) -> float:
    """Peak signal-to-noise ratio in dB, of 8-bit pictures."""
    error = float(np.mean((original.astype(np.float64) - copy.astype(np.float64)) ** 2))
    return 10 * math.log10(255**2 / max(error, 1e-10))


def edge_sharpness(pixels: Pixels) -> float:
    """How steep the edges are: the mean of the largest twentieth of all differences between
    neighbours, 0..1."""
    values = pixels.astype(np.float64) / 255
    steps = np.concatenate([np.abs(np.diff(values, axis=axis)).ravel() for axis in (0, 1)])
    steepest = len(steps) // 20
    return float(np.partition(steps, -steepest)[-steepest:].mean())
