"""Pictures that clients upload: untrusted bytes in, plain pixels out."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Final

import PIL.Image
import PIL.ImageChops
import PIL.ImageOps

# Imported before the first picture needs them.
import PIL.JpegImagePlugin
import PIL.PngImagePlugin
import PIL.WebPImagePlugin

from api.decoding import structure
from api.decoding.job import Decoded, Fit, Job, PictureFault
from contract.errors import ErrorCode

_FORMATS = ("PNG", "JPEG", "WEBP")
# Resizing takes time by the longer side, whatever the area: 1 x 16,000,000 takes 20 seconds.
MAX_ASPECT: Final = 32


def _format_of(data: bytes) -> str | None:
    """Name the file format by its signature."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return None


def run(job: Job, files: list[bytes], begin: Callable[[str], None]) -> Decoded:
    """Do a job. Blocking.

    Args:
        job: what is wanted.
        files: the picture's file, and the mask's if there is one; emptied, as memory is short.
        begin: called with the name of each picture before it is looked at.

    Raises:
        PictureFault: as ``decode``, and for a mask of another size than the picture.
    """
    begin(job.picture)
    picture = decode(files.pop(0), job.max_input_pixels, job.picture)
    given = picture.size
    width, height = job.sizing.of(given)
    wanted = width * height <= job.sizing.max_pixels
    pixels = to_bytes(picture, width, height, job.resample, job.fit) if wanted else b""
    if job.mask is None:
        return Decoded(width, height, pixels)
    del picture
    begin(job.mask)
    to_mask = _transparency if job.mask_is_alpha else _brightness
    mask = decode(files.pop(0), job.max_input_pixels, job.mask, to_mask)
    if mask.size != given:
        raise PictureFault(
            ErrorCode.OUT_OF_RANGE,
            job.mask,
            f"{{{job.mask}}} must have the size of {{{job.picture}}}, "
            f"{given[0]} x {given[1]} pixels, got {mask.width} x {mask.height}",
        )
    if job.invert_mask:
        mask = PIL.ImageOps.invert(mask)
    marked = to_bytes(mask, width, height, job.resample, job.fit) if wanted else b""
    return Decoded(width, height, pixels, marked)


def _to_rgb(picture: PIL.Image.Image, field: str = "") -> PIL.Image.Image:
    """RGB, on white."""
    if picture.mode.startswith("I"):
        # 16-bit greyscale: Pillow's own conversion clips at 255 instead of scaling.
        picture = picture.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        opaque = PIL.Image.new("RGB", picture.size, "white")
        opaque.paste(picture, mask=picture.getchannel("A"))
        return opaque
    return picture.convert("RGB")


def _brightness(picture: PIL.Image.Image, field: str) -> PIL.Image.Image:
    """8-bit greyscale, on white."""
    return _to_rgb(picture).convert("L")


def _transparency(picture: PIL.Image.Image, field: str) -> PIL.Image.Image:
    """How transparent each pixel is, 0 to 255."""
    if not picture.has_transparency_data:
        raise PictureFault(
            ErrorCode.INVALID_REQUEST,
            field,
            f"{{{field}}} must have an alpha channel: what is transparent in it is inpainted",
        )
    return PIL.ImageChops.invert(picture.convert("RGBA").getchannel("A"))


def decode(
    data: bytes,
    max_pixels: int,
    field: str,
    convert: Callable[[PIL.Image.Image, str], PIL.Image.Image] = _to_rgb,
) -> PIL.Image.Image:
    """Decode a PNG, JPEG or WebP into an upright picture, by default an opaque RGB one.

    Only the first frame of an animation counts, transparency becomes white, and the EXIF
    orientation is applied. Blocking.

    Args:
        data: the file.
        max_pixels: the most that the header may announce; checked before anything is decoded.
        field: the picture that errors are about.
        convert: given the upright picture and ``field``, makes of it what is wanted.

    Raises:
        PictureFault: UNSUPPORTED_MEDIA_TYPE for another format, PAYLOAD_TOO_LARGE for too many
            pixels, scans or chunks and for more memory than there is, OUT_OF_RANGE for an aspect
            ratio above ``MAX_ASPECT``, INVALID_REQUEST for a file that is empty, truncated or
            broken; what ``convert`` raises.
    """
    if not data:
        raise PictureFault(ErrorCode.INVALID_REQUEST, field, f"{{{field}}} is empty")
    file_format = _format_of(data)
    if file_format is None:
        formats = ", ".join(_FORMATS)
        raise PictureFault(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            field,
            f"{{{field}}} must be a picture in one of the formats {formats}",
        )
    limit = structure.excess(data, file_format)
    if limit is not None:
        raise _too_large(field, limit, "more")
    try:
        picture = PIL.Image.open(BytesIO(data), formats=(file_format,))
        _check_size(picture.size, max_pixels, field)
        picture.load()
        return convert(_upright(picture), field)
    except PictureFault:
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        # Pillow's own limit; the warning is an exception where Python runs with -W error.
        raise _too_large(field, f"at most {max_pixels} pixels", "far more") from None
    except MemoryError:
        raise PictureFault(
            ErrorCode.PAYLOAD_TOO_LARGE, field, f"{{{field}}} takes too much memory to decode"
        ) from None
    except Exception as error:
        # Broken files surface as almost any exception: OSError, SyntaxError, ValueError,
        # struct.error, zlib.error, IndexError, AssertionError, RecursionError.
        raise PictureFault(
            ErrorCode.INVALID_REQUEST,
            field,
            f"{{{field}}} is truncated or is not a valid {file_format} file",
        ) from error


def to_bytes(
    picture: PIL.Image.Image,
    width: int,
    height: int,
    resample: int = PIL.Image.Resampling.LANCZOS,
    fit: Fit = "stretch",
) -> bytes:
    """Resize to exactly ``width`` x ``height`` and return its bytes, row by row. Blocking."""
    size, method = (width, height), PIL.Image.Resampling(resample)
    if picture.size != size:
        if fit == "crop":
            picture = PIL.ImageOps.fit(picture, size, method)
        elif fit == "extend":
            picture = _extended(PIL.ImageOps.contain(picture, size, method), size)
        else:
            picture = picture.resize(size, method)
    return picture.tobytes()


def _extended(picture: PIL.Image.Image, size: tuple[int, int]) -> PIL.Image.Image:
    """A picture in the middle of a larger one, whose sides are the colours of its edges."""
    width, height = picture.size
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    whole = PIL.Image.new(picture.mode, size)
    for edge, start, end in (
        ((0, 0, 1, height), (0, top), (left, top + height)),
        ((width - 1, 0, width, height), (left + width, top), (size[0], top + height)),
        ((0, 0, width, 1), (left, 0), (left + width, top)),
        ((0, height - 1, width, height), (left, top + height), (left + width, size[1])),
    ):
        strip = (end[0] - start[0], end[1] - start[1])
        if all(strip):
            whole.paste(picture.crop(edge).resize(strip), start)
    whole.paste(picture, (left, top))
    return whole


def _check_size(size: tuple[int, int], max_pixels: int, field: str) -> None:
    width, height = size
    if width * height > max_pixels:
        raise _too_large(field, f"at most {max_pixels} pixels", f"{width} x {height}")
    if max(size) > MAX_ASPECT * min(size) > 0:
        raise PictureFault(
            ErrorCode.OUT_OF_RANGE,
            field,
            f"{{{field}}} must have an aspect ratio of at most {MAX_ASPECT}:1, "
            f"got {width} x {height}",
        )


def _upright(picture: PIL.Image.Image) -> PIL.Image.Image:
    try:
        return PIL.ImageOps.exif_transpose(picture)
    except MemoryError:
        raise
    except Exception:
        # Malformed EXIF is no reason to refuse pixels that decode.
        return picture


def _too_large(field: str, limit: str, got: str) -> PictureFault:
    return PictureFault(
        ErrorCode.PAYLOAD_TOO_LARGE, field, f"{{{field}}} must have {limit}, got {got}"
    )
