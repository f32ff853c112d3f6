"""Training pictures: one sprite composed on one or two background colours."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.embedded.art import sprite
from training.embedded.world import Colour, Subject, World

SIDE = 64
GRADIENT_SHARE = 0.12
FLIP_SHARE = 0.2
SIZES = (46, 58)
"""Smallest and largest side of a sprite in pixels. Sprites are 64 px: they are never enlarged."""
LARGEST_SHIFT = 3

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that decides a picture: two scenes that are equal give equal pixels."""

    subject: Subject
    style: str
    background: tuple[str, ...]
    """One colour name, or two for a gradient."""
    angle: float = 0.0
    """Direction of the gradient in radians."""
    size: int = 54
    shift: tuple[int, int] = (0, 0)
    """Distance of the sprite from the centre in pixels, right and down."""
    flip: bool = False


def training_scene(world: World, subject: Subject, style: str, rng: random.Random) -> Scene:
    """A random scene of a subject that is allowed in training: never on its held-out colour."""
    colours = world.backgrounds(subject)
    count = 2 if rng.random() < GRADIENT_SHARE else 1
    return _jittered(subject, style, tuple(rng.sample(colours, count)), rng)


def held_out_scene(subject: Subject, style: str, rng: random.Random) -> Scene:
    """A random scene of a subject on its held-out colour, for evaluation only."""
    return _jittered(subject, style, (subject.held_out,), rng)


def _jittered(
    subject: Subject, style: str, background: tuple[str, ...], rng: random.Random
) -> Scene:
    return Scene(
        subject=subject,
        style=style,
        background=background,
        angle=rng.uniform(0, 2 * np.pi),
        size=rng.randint(*SIZES),
        shift=(
            rng.randint(-LARGEST_SHIFT, LARGEST_SHIFT),
            rng.randint(-LARGEST_SHIFT, LARGEST_SHIFT),
        ),
        flip=rng.random() < FLIP_SHARE,
    )


def compose(world: World, scene: Scene) -> Pixels:
    """Draw a scene: RGB, shape [64, 64, 3], 0..255."""
    colours = [world.colours[name] for name in scene.background]
    canvas = Image.fromarray(_ground(colours, scene.angle), "RGB")
    image = sprite(scene.style, scene.subject.name)
    if scene.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.resize((scene.size, scene.size), Image.Resampling.LANCZOS)
    corner = (SIDE - scene.size) // 2
    canvas.paste(image, (corner + scene.shift[0], corner + scene.shift[1]), image)
    return np.asarray(canvas)


def _ground(colours: list[Colour], angle: float) -> Pixels:
    """A plain colour, or a linear gradient that spans the picture in the given direction."""
    first = np.array(colours[0], dtype=np.float32)
    last = np.array(colours[-1], dtype=np.float32)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j].astype(np.float32)
    reach = abs(np.cos(angle)) + abs(np.sin(angle))
    share = (x * np.cos(angle) + y * np.sin(angle)) / (2 * reach) + 0.5
    return np.asarray((first + (last - first) * share[..., None]).round(), dtype=np.uint8)
