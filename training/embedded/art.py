"""The vendored emoji sprites."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import Image

ART_DIR = Path(__file__).parent / "art"
STYLES = ("noto", "twemoji")


def sprite_path(style: str, name: str) -> Path:
    """Where the sprite of an object lies."""
    return ART_DIR / style / f"{name.replace(' ', '-')}.png"


@cache
def sprite(style: str, name: str) -> Image.Image:
    """The 64×64 RGBA sprite of an object in one style."""
    with Image.open(sprite_path(style, name)) as image:
        return image.convert("RGBA")
