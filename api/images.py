"""Pictures that clients upload: untrusted bytes in, plain pixels out."""

from __future__ import annotations

import math
from io import BytesIO

import PIL.Image
import PIL.ImageOps

from api.parameters import ParameterError
from contract.errors import ErrorCode

_FORMATS = ("PNG", "JPEG", "WEBP")


def _format_of(data: bytes) -> str | None:
    """Name the file format by its signature."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return None


def decode(data: bytes, max_pixels: int, field: str) -> PIL.Image.Image:
    """Decode a PNG, JPEG or WebP into an upright opaque RGB picture.

    Only the first frame of an animation counts, transparency becomes white, and the EXIF
    orientation is applied. Blocking: run it in a thread.

    Args:
        data: the file.
        max_pixels: the most that the header may announce; checked before anything is decoded.
        field: the parameter that errors are about.

    Raises:
        ParameterError: UNSUPPORTED_MEDIA_TYPE for another format, PAYLOAD_TOO_LARGE for too many
            pixels, INVALID_REQUEST for a file that is empty, truncated or broken.
    """
    if not data:
        raise ParameterError(
            ErrorCode.INVALID_REQUEST, field, lambda name: f"{name(field)} is empty"
        )
    file_format = _format_of(data)
    if file_format is None:
        formats = ", ".join(_FORMATS)
        raise ParameterError(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            field,
            lambda name: f"{name(field)} must be a picture in one of the formats {formats}",
        )
    try:
        picture = PIL.Image.open(BytesIO(data), formats=(file_format,))
        if picture.width * picture.height > max_pixels:
            raise _too_large(field, max_pixels, f"{picture.width} x {picture.height}")
        picture.load()
    except ParameterError:
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        # Pillow's own limit; the warning is an exception where Python runs with -W error.
        raise _too_large(field, max_pixels, "far more") from None
    except Exception as error:
        # Broken files surface as almost any exception: OSError, SyntaxError, ValueError,
        # struct.error, zlib.error, IndexError.
        raise ParameterError(
            ErrorCode.INVALID_REQUEST,
            field,
            lambda name: f"{name(field)} is truncated or is not a valid {file_format} file",
        ) from error
    return _to_rgb(_upright(picture))


def fit(
    picture: tuple[int, int],
    native: tuple[int, int],
    multiple: int,
    sides: tuple[int, int],
    most: int,
) -> tuple[int, int]:
    """Choose a size with the picture's aspect ratio and about the native area.

    Args:
        picture: width and height of the input, pixels.
        native: width and height that the model prefers.
        multiple: what both sides must divide by.
        sides: the least and the most that a side may have.
        most: pixels of the result, at least the native area.
    """
    scale = math.sqrt(native[0] * native[1] / (picture[0] * picture[1]))
    width, height = (nearest(side * scale, multiple, sides) for side in picture)
    # A very long picture is wider than that, as its short side has a least length.
    longest = most // min(width, height) // multiple * multiple
    return min(width, longest), min(height, longest)


def nearest(side: float, multiple: int, sides: tuple[int, int]) -> int:
    """Round a side in pixels to the nearest allowed multiple."""
    least = math.ceil(sides[0] / multiple)
    most = sides[1] // multiple
    return multiple * min(max(round(side / multiple), least), most)


def to_bytes(
    picture: PIL.Image.Image, width: int, height: int, resample: int = PIL.Image.Resampling.LANCZOS
) -> bytes:
    """Resize to exactly ``width`` x ``height`` and return its bytes, row by row. Blocking."""
    if picture.size != (width, height):
        picture = picture.resize((width, height), resample)
    return picture.tobytes()


def _upright(picture: PIL.Image.Image) -> PIL.Image.Image:
    try:
        return PIL.ImageOps.exif_transpose(picture)
    except Exception:
        # Malformed EXIF is no reason to refuse pixels that decode.
        return picture


def _to_rgb(picture: PIL.Image.Image) -> PIL.Image.Image:
    if picture.mode.startswith("I"):
        # 16-bit greyscale: Pillow's own conversion clips at 255 instead of scaling.
        picture = picture.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        opaque = PIL.Image.new("RGB", picture.size, "white")
        opaque.paste(picture, mask=picture.getchannel("A"))
        return opaque
    return picture.convert("RGB")


def _too_large(field: str, max_pixels: int, size: str) -> ParameterError:
    return ParameterError(
        ErrorCode.PAYLOAD_TOO_LARGE,
        field,
        lambda name: f"{name(field)} must have at most {max_pixels} pixels, got {size}",
    )
