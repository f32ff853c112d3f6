"""The sizes that are offered for a model: of its default area, in common proportions."""

from __future__ import annotations

from math import sqrt
from typing import Final

from ui.served import Limits, Model

# Width to height, the model's own apart.
_PROPORTIONS: Final = ((1, 1), (4, 3), (3, 4), (3, 2), (2, 3), (16, 9), (9, 16))

Size = tuple[int, int]


def presets(model: Model, limits: Limits) -> list[tuple[str, Size]]:
    """Names and sizes (width, height, in pixels), the model's own first; each size once.

    Where the short side would be below the least one, the picture is larger; what is too large then
    is left out.
    """
    own = (model.defaults["width"], model.defaults["height"])
    sizes = {own: f"{named(own)} (default)"}
    for across, down in _PROPORTIONS:
        size = _of_area(own[0] * own[1], across / down, model, limits)
        if size is not None and size not in sizes:
            sizes[size] = f"{named(size)} ({across}:{down})"
    return [(label, size) for size, label in sizes.items()]


def named(size: Size) -> str:
    """As people write it."""
    return f"{size[0]} × {size[1]}"


def _of_area(area: int, ratio: float, model: Model, limits: Limits) -> Size | None:
    step = model.multiple_of
    least = -(-limits.min_side // step) * step
    height = sqrt(area / ratio)
    scale = max(1.0, least / min(height, height * ratio))
    width, height = (
        max(least, round(side * scale / step) * step) for side in (height * ratio, height)
    )
    fits = width * height <= model.max_pixels and max(width, height) <= limits.max_side
    return (width, height) if fits else None
