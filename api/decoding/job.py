"""The decoding job: what is wanted of the pictures of one request."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self

from contract.errors import ErrorCode, RequestError

# PIL.Image.Resampling.LANCZOS, where Pillow is not imported.
LANCZOS: Final = 1

# How a picture comes to another aspect ratio: distorted, with its middle cut out, or whole, with
# its edges drawn out to the sides.
Fit = Literal["stretch", "crop", "extend"]


class PictureFault(RequestError):
    """A picture that cannot be used.

    Args:
        code: the kind of error.
        field: the name of the picture at fault.
        template: the message, with names of pictures in braces.
    """

    def __init__(self, code: ErrorCode, field: str, template: str) -> None:
        super().__init__(code, filled(template, str), field=field)
        self.template = template


def filled(template: str, names: Callable[[str], str]) -> str:
    """The message of a fault, in a client's names of the pictures."""
    return re.sub(r"\{(\w+)\}", lambda match: names(match[1]), template)


@dataclass(frozen=True, slots=True)
class Sizing:
    """How the size of the result follows from that of the picture.

    Attributes:
        width: pixels, if it was asked for; likewise ``height``.
        native: width and height that the model prefers.
        multiple: what both sides must divide by.
        sides: the least and the most that a side may have.
        max_pixels: width x height, at least the native area; above it nothing is resized.
    """

    width: int | None
    height: int | None
    native: tuple[int, int]
    multiple: int
    sides: tuple[int, int]
    max_pixels: int

    def of(self, picture: tuple[int, int]) -> tuple[int, int]:
        """Width and height for a picture of this width and height."""
        match self.width, self.height:
            case int(width), int(height):
                return width, height
            case int(width), None:
                return width, self._nearest(width * picture[1] / picture[0])
            case None, int(height):
                return self._nearest(height * picture[0] / picture[1]), height
            case _:
                return self._fit(picture)

    def _fit(self, picture: tuple[int, int]) -> tuple[int, int]:
        """The picture's aspect ratio, at about the native area."""
        scale = math.sqrt(self.native[0] * self.native[1] / (picture[0] * picture[1]))
        width, height = (self._nearest(side * scale) for side in picture)
        # A very long picture is wider than that, as its short side has a least length.
        longest = self.max_pixels // min(width, height) // self.multiple * self.multiple
        return min(width, longest), min(height, longest)

    def _nearest(self, side: float) -> int:
        """The nearest allowed multiple."""
        least = math.ceil(self.sides[0] / self.multiple)
        most = self.sides[1] // self.multiple
        return self.multiple * min(max(round(side / self.multiple), least), most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A picture to decode, perhaps with a mask, and the form that they are wanted in.

    Attributes:
        picture: the picture's name in errors.
        mask: the mask's; it must have the picture's size. None: there is no mask.
        mask_is_alpha: whether the mask is what is transparent, and not what is white.
        max_input_pixels: the most that a file's header may announce.
        sizing: the size of the result.
        resample: one of ``PIL.Image.Resampling``.
        fit: how both are fitted into that size.
        invert_mask: whether black and white of the mask change places.
    """

    picture: str
    mask: str | None = None
    mask_is_alpha: bool = False
    max_input_pixels: int
    sizing: Sizing
    resample: int
    fit: Fit = "stretch"
    invert_mask: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        sizing = fields.pop("sizing")
        for pair in ("native", "sides"):
            sizing[pair] = tuple(sizing[pair])
        return cls(sizing=Sizing(**sizing), **fields)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The pictures of a request, as they are needed.

    Attributes:
        width: pixels; likewise ``height``.
        picture: RGB, ``height * width * 3`` bytes, row by row; empty above ``Sizing.max_pixels``.
        mask: ``height * width`` bytes; None where there was none.
    """

    width: int
    height: int
    picture: bytes
    mask: bytes | None = None
