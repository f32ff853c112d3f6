"""Files that clients upload: pictures of every kind, and what only looks like one.

``ODD`` holds files that must work, ``BROKEN`` those that must be refused with the named code.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import PIL.Image

from contract.errors import ErrorCode

RED, BLUE = (255, 0, 0), (0, 0, 255)


def encode(picture: PIL.Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """Write a picture to memory."""
    file = BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def red_and_blue() -> PIL.Image.Image:
    """40 x 20 pixels: the left half red, the right half blue."""
    picture = PIL.Image.new("RGB", (40, 20), BLUE)
    picture.paste(RED, (0, 0, 20, 20))
    return picture


def noise() -> PIL.Image.Image:
    """A picture that compresses badly, so that half of its file is half of its pixels."""
    return PIL.Image.effect_noise((96, 96), 80).convert("RGB")


def png(width: int, height: int, data: bytes, extra: bytes = b"", depth: int = 8) -> bytes:
    """A PNG with a header of one's choice; ``data`` is its IDAT chunk."""
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _rotated(file_format: str) -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees, clockwise
    return encode(red_and_blue(), file_format, exif=exif)


def progressive(scans: int, side: int = 64) -> bytes:
    """A grey progressive JPEG with so many scans beside its own, all but the first like its last.

    Each costs a decoder as much as a pass over the picture, and the file a few bytes.
    """
    data = encode(PIL.Image.new("L", (side, side), 128), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + data[-2:]


def palette_without_colours() -> bytes:
    """A PNG of palette indices with neither a palette nor readable EXIF."""
    header = struct.pack(">IIBBBBB", 8, 8, 8, 3, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes(8)) * 8)
    chunks = ((b"IHDR", header), (b"eXIf", b"broken"), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


_FRAMES = [PIL.Image.new("RGB", (40, 20), colour) for colour in (RED, BLUE)]
_ANIMATED: dict[str, Any] = {"save_all": True, "append_images": _FRAMES[1:]}

# name -> file, size once upright, colour of the top left pixel
ODD: dict[str, tuple[bytes, tuple[int, int], tuple[int, int, int]]] = {
    "png": (encode(red_and_blue()), (40, 20), RED),
    "jpeg": (encode(red_and_blue(), "JPEG", quality=95), (40, 20), RED),
    "webp": (encode(red_and_blue(), "WEBP", lossless=True), (40, 20), RED),
    "animated-png": (encode(_FRAMES[0], **_ANIMATED), (40, 20), RED),
    "animated-webp": (encode(_FRAMES[0], "WEBP", lossless=True, **_ANIMATED), (40, 20), RED),
    "cmyk": (encode(PIL.Image.new("CMYK", (40, 20), (0, 255, 255, 0)), "JPEG"), (40, 20), RED),
    "grey-16-bit": (encode(PIL.Image.new("I;16", (40, 20), 0x8080)), (40, 20), (128, 128, 128)),
    "rgb-16-bit": (
        png(2, 2, zlib.compress((b"\0" + b"\xff\xff\0\0\0\0" * 2) * 2), depth=16),
        (2, 2),
        RED,
    ),
    "grey": (encode(PIL.Image.new("L", (40, 20), 7)), (40, 20), (7, 7, 7)),
    "black-and-white": (encode(PIL.Image.new("1", (40, 20), 1)), (40, 20), (255, 255, 255)),
    "palette": (encode(red_and_blue().convert("P")), (40, 20), RED),
    "palette-with-transparency": (
        encode(_FRAMES[0].convert("P"), transparency=_FRAMES[0].convert("P").getpixel((0, 0))),
        (40, 20),
        (255, 255, 255),
    ),
    "alpha": (encode(PIL.Image.new("RGBA", (40, 20), (*RED, 128))), (40, 20), (255, 127, 127)),
    "grey-alpha": (encode(PIL.Image.new("LA", (40, 20), (0, 0))), (40, 20), (255, 255, 255)),
    "rotated-jpeg": (_rotated("JPEG"), (20, 40), RED),
    "rotated-png": (_rotated("PNG"), (20, 40), RED),
    "broken-exif": (encode(red_and_blue(), "JPEG", exif=b"Exif\0\0broken"), (40, 20), RED),
    "one-pixel": (encode(PIL.Image.new("RGB", (1, 1), RED)), (1, 1), RED),
}

BROKEN: dict[str, tuple[bytes, ErrorCode]] = {
    "empty": (b"", ErrorCode.INVALID_REQUEST),
    "text": (b"just words", ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    "gif": (encode(red_and_blue(), "GIF"), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    "tiff": (encode(red_and_blue(), "TIFF"), ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    **{
        f"truncated-{file_format.lower()}": (
            encode(noise(), file_format)[:1500],
            ErrorCode.INVALID_REQUEST,
        )
        for file_format in ("PNG", "JPEG", "WEBP")
    },
    "only-a-signature": (b"\x89PNG\r\n\x1a\n", ErrorCode.INVALID_REQUEST),
    "no-pixels": (png(0, 10, b""), ErrorCode.INVALID_REQUEST),
    "text-bomb": (
        png(1, 1, b"", chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(20_000_000)))),
        ErrorCode.INVALID_REQUEST,
    ),
    # 25 and 2,500 megapixels by their header, and hardly a byte long.
    "bomb": (png(5_000, 5_000, b""), ErrorCode.PAYLOAD_TOO_LARGE),
    "huge-bomb": (png(50_000, 50_000, b""), ErrorCode.PAYLOAD_TOO_LARGE),
    "tall": (png(1, 1_000_000, b""), ErrorCode.OUT_OF_RANGE),
    "many-scans": (progressive(100), ErrorCode.PAYLOAD_TOO_LARGE),
    "many-chunks": (png(1, 1, b"", chunk(b"aaAa", b"") * 10_000), ErrorCode.PAYLOAD_TOO_LARGE),
    "palette-without-colours": (palette_without_colours(), ErrorCode.INVALID_REQUEST),
}
