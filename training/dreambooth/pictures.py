"""The subject's pictures: found, checked, and cut to size without distortion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from training.dreambooth.errors import TrainingError
from training.dreambooth.options import Crop

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp")
_CENTRE: Final = (0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Example:
    """A picture of the subject, and the prompt that describes it."""

    path: Path
    prompt: str


def find_examples(folder: Path, token: str, prompt: str) -> tuple[Example, ...]:
    """The pictures of a folder, in the order of their names.

    A text file of a picture's name (``a.txt`` for ``a.jpg``) holds its own prompt.

    Args:
        prompt: of the pictures that have no text file.

    Raises:
        TrainingError: no folder, no pictures, or a prompt without the token.
    """
    if not folder.is_dir():
        raise TrainingError(f"--images: the folder {folder} does not exist.")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise TrainingError(
            f"--images: the folder {folder} has no pictures (files ending in "
            f"{', '.join(SUFFIXES)})."
        )
    examples = []
    for path in paths:
        own = path.with_suffix(".txt")
        text = _read_text(own) if own.exists() else prompt
        if token not in text.split():
            source = own if own.exists() else "the instance prompt"
            raise TrainingError(f"{source} does not have the word '{token}' in it: '{text}'.")
        examples.append(Example(path, text))
    return tuple(examples)


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise TrainingError(f"{file} is not a text in UTF-8.") from error


def read_picture(path: Path, side: int) -> Image.Image:
    """A picture in RGB, upright, transparent parts white.

    Raises:
        TrainingError: it cannot be read, or is smaller than ``side`` pixels in one direction.
    """
    try:
        with Image.open(path) as file:
            upright = ImageOps.exif_transpose(file).convert("RGBA")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        # PIL says SyntaxError of some broken PNG files.
        raise TrainingError(f"{path} cannot be read as a picture: {error}.") from error
    if min(upright.size) < side:
        raise TrainingError(
            f"{path} has {upright.width} x {upright.height} pixels; it needs at least {side} in "
            "both directions, as pictures are never enlarged. Leave it out, or give a smaller "
            "--resolution."
        )
    ground = Image.new("RGBA", upright.size, "white")
    return Image.alpha_composite(ground, upright).convert("RGB")


@dataclass(frozen=True, slots=True)
class Cut:
    """A square out of a picture.

    Attributes:
        picture: the square.
        original: height and width of the picture, in its pixels.
        corner: where the square begins, from the top and from the left, in pixels of the square:
            what SDXL calls the crop (Podell et al. 2023, https://arxiv.org/abs/2307.01952).
    """

    picture: Image.Image
    original: tuple[int, int]
    corner: tuple[int, int]

    def mirrored(self) -> Cut:
        """The same out of the mirrored picture."""
        height, width = self.original
        side = self.picture.width
        whole = round(width * side / min(height, width))
        top, left = self.corner
        return Cut(ImageOps.mirror(self.picture), self.original, (top, max(0, whole - side - left)))


def cuts(
    picture: Image.Image, side: int, crop: Crop, count: int, generator: torch.Generator
) -> list[Cut]:
    """Squares of ``side`` pixels out of a picture, each as large as the picture allows.

    One from the centre, or ``count`` from random places.
    """
    places = [_CENTRE] if crop == "centre" else torch.rand(count, 2, generator=generator).tolist()
    shortest = min(picture.size)
    # Pixels of the square that are cut off, from the left and from the top together.
    spare = [(length - shortest) * side / shortest for length in picture.size]
    return [
        Cut(
            ImageOps.fit(picture, (side, side), Image.Resampling.LANCZOS, centering=(left, top)),
            (picture.height, picture.width),
            (round(spare[1] * top), round(spare[0] * left)),
        )
        for left, top in places
    ]
