"""What was painted in the editor: a picture, and a mask of the part that is to be made anew."""

from __future__ import annotations

import io
from collections.abc import Mapping
from math import sqrt
from typing import Any, Final

from PIL import Image, ImageChops, ImageOps

from ui.refusal import Refusal

# The service makes no larger ones of it.
_SENT_PIXELS: Final = 4_000_000
# What is sent has to fit into a body of the service's, in base64 and with the mask.
_SENT_BYTES: Final = 7 * 2**20
_JPEG_QUALITY: Final = 95
# Of the alpha of what is painted; below that, it is the edge of a stroke.
_PAINTED: Final = 16
# Twice as many are refused before anything is decoded; the service's own limit is below that.
Image.MAX_IMAGE_PIXELS = 20_000_000


def picture_of(painting: Mapping[str, Any] | None) -> Image.Image:
    """The picture that was put into the editor, without what was painted on it.

    Raises:
        Refusal: there is none.
    """
    picture = (painting or {}).get("background")
    if not isinstance(picture, Image.Image):
        raise Refusal(
            "Put a picture here first: drop it, paste it, or choose a file.", field="image"
        )
    return picture.convert("RGB")


def mask_of(painting: Mapping[str, Any], size: tuple[int, int]) -> Image.Image | None:
    """White where something was painted, black elsewhere; None where nothing was."""
    mask = Image.new("L", size)
    for layer in painting.get("layers") or ():
        alpha = layer.convert("RGBA").getchannel("A")
        if alpha.size != size:
            alpha = alpha.resize(size)
        mask = ImageChops.lighter(mask, alpha)
    mask = mask.point(lambda alpha: 255 if alpha > _PAINTED else 0)
    return mask if mask.getbbox() else None


def file_of(picture: Image.Image) -> bytes:
    """The picture or mask as a PNG, no larger than needed; one that still does not fit into a body,
    as a JPEG of high quality."""
    shrink = sqrt(_SENT_PIXELS / (picture.width * picture.height))
    if shrink < 1:
        size = (round(picture.width * shrink), round(picture.height * shrink))
        is_mask = picture.mode == "L"
        picture = picture.resize(
            size, Image.Resampling.NEAREST if is_mask else Image.Resampling.LANCZOS
        )
    written = io.BytesIO()
    picture.save(written, "PNG")
    if written.tell() > _SENT_BYTES:
        written = io.BytesIO()
        picture.save(written, "JPEG", quality=_JPEG_QUALITY)
    return written.getvalue()


def opened(file: bytes) -> Image.Image:
    """The picture of a file, upright."""
    with Image.open(io.BytesIO(file)) as image:
        return ImageOps.exif_transpose(image).convert("RGB")
