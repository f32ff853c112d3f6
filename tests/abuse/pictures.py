"""Hostile pictures, made of bytes: what costs a decoder far more than it cost to send.

``HOSTILE`` has makers by name: the large ones are made when they are needed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import PIL.Image

from tests.uploads import RED, chunk, encode, noise, red_and_blue

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_MEGA: Final = 1024 * 1024
# The least of a PNG that this colour type takes to begin with.
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def png(
    width: int,
    height: int,
    data: bytes,
    *,
    before: bytes = b"",
    depth: int = 8,
    colour: int = RGB,
    interlace: int = 0,
) -> bytes:
    """A PNG whose header says what it likes; ``data`` is its IDAT chunk, ``before`` are others."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return _SIGNATURE + chunk(b"IHDR", header) + before + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def deflated_zeros(megabytes: int) -> bytes:
    """A zlib stream of so many MiB of zeros, a thousandth as long, made without them."""
    packer = zlib.compressobj(9)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(_MEGA)) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush a block refers to nothing before it, and may be repeated.
    end = zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    checksum = struct.pack(">I", _adler_of_zeros(megabytes * _MEGA))
    return start + block * megabytes + end + checksum


def _adler_of_zeros(length: int) -> int:
    return (length % 65521) << 16 | 1


def thin(width: int, height: int) -> bytes:
    """A grey PNG of one of two extreme shapes."""
    row = b"\0" + bytes(width)
    if height == 1:
        return png(width, height, zlib.compress(row), colour=GREY)
    packer = zlib.compressobj(9)
    rows = [packer.compress(row * 1000) for _ in range(height // 1000)]
    return png(width, height, b"".join(rows) + packer.flush(), colour=GREY)


def progressive(scans: int, side: int = 4000) -> bytes:
    """A grey progressive JPEG with a first scan and ``scans`` further ones of a few bytes each.

    A decoder visits all blocks of the picture in each of them.
    """
    blocks = (side // 8) ** 2
    table = bytes([1] + [0] * 15)
    # Each block's DC difference is 0: one bit. Its AC coefficients end in runs of 32,767 blocks.
    first = _scan(0, 0, bytes(blocks // 8) + b"\x7f")
    runs = ("0" + "1" * 14) * (blocks // 32767 + 1)
    runs += "1" * (-len(runs) % 8)
    data = int(runs, 2).to_bytes(len(runs) // 8, "big").replace(b"\xff", b"\xff\0")
    return (
        b"\xff\xd8"
        + _segment(0xDB, b"\0" + b"\1" * 64)
        + _segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\1\x11\0")
        + _segment(0xC4, b"\0" + table + b"\0")
        + _segment(0xC4, b"\x10" + table + b"\xe0")
        + first
        + _scan(1, 63, data) * scans
        + b"\xff\xd9"
    )


def _scan(first: int, last: int, data: bytes) -> bytes:
    return _segment(0xDA, bytes([1, 1, 0, first, last, 0])) + data


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _with_segments(marker: int, data: bytes, count: int) -> bytes:
    """A JPEG with so many further segments behind its start."""
    jpeg = encode(red_and_blue(), "JPEG")
    return jpeg[:2] + _segment(marker, data) * count + jpeg[2:]


def _exif(orientation: Any) -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return encode(red_and_blue(), "JPEG", exif=exif)


def _looping_exif() -> bytes:
    """A directory whose next one is itself."""
    tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 8)
    return _with_segments(0xE1, b"Exif\0\0" + tiff, 1)


def _huge_exif() -> bytes:
    """An entry that announces 4 GB."""
    tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHII", 1, 0x8769, 1, 0xFFFFFFFF, 8) + bytes(4)
    return _with_segments(0xE1, b"Exif\0\0" + tiff, 1)


def _animated(file_format: str, frames: int) -> bytes:
    pictures = [PIL.Image.new("RGB", (64, 64), (shade % 256, 0, 0)) for shade in range(frames)]
    return encode(pictures[0], file_format, save_all=True, append_images=pictures[1:])


def _webp(kind: bytes, data: bytes) -> bytes:
    body = b"WEBP" + kind + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _with_chunk(kind: bytes, data: bytes, count: int = 1) -> bytes:
    """A small valid PNG with further chunks."""
    return png(2, 2, zlib.compress(bytes(14)), before=chunk(kind, data) * count)


def _announced(kind: bytes, length: int) -> bytes:
    """A PNG with a chunk that announces that length, and ends."""
    whole = _with_chunk(b"tEXt", b"")
    return whole[:33] + struct.pack(">I", length) + kind + bytes(1000)


_TWO_BY_TWO: Final = zlib.compress(bytes(2 * (1 + 2 * 3)))
_FLAT: Final = PIL.Image.new("RGB", (64, 64), RED)

HOSTILE: Final[dict[str, Callable[[], bytes]]] = {
    # More scans than any picture needs: refused.
    "jpeg-101-scans": lambda: progressive(101, side=64),
    "jpeg-900-scans": lambda: progressive(900),
    "jpeg-of-12-mb-of-scans": lambda: progressive(400_000),
    "jpeg-65535": lambda: progressive(1, side=65528),
    "jpeg-no-pixels": lambda: progressive(1).replace(struct.pack(">HH", 4000, 4000), bytes(4)),
    "jpeg-arithmetic": lambda: progressive(1, side=64).replace(b"\xff\xc2", b"\xff\xca"),
    "jpeg-lossless": lambda: progressive(1, side=64).replace(b"\xff\xc2", b"\xff\xc3"),
    "jpeg-without-scans": lambda: b"\xff\xd8\xff\xd9",
    "jpeg-of-fill-bytes": lambda: b"\xff\xd8" + b"\xff" * 11_000_000,
    "jpeg-of-restarts": lambda: encode(_FLAT, "JPEG")[:-2] + b"\xff\xd0" * 500_000,
    "jpeg-2000000-comments": lambda: _with_segments(0xFE, b"x", 2_000_000),
    "jpeg-8-mb-of-metadata": lambda: _with_segments(0xE1, bytes(65_000), 128),
    "jpeg-of-icc-profiles": lambda: _with_segments(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60_000), 99),
    "jpeg-of-previews": lambda: _with_segments(0xE2, b"MPF\0" + bytes(60_000), 99),
    "jpeg-segment-of-no-length": lambda: b"\xff\xd8\xff\xe1\0\0" + encode(_FLAT, "JPEG"),
    "jpeg-photoshop": lambda: _with_segments(0xED, b"Photoshop 3.0\0" + b"8BIM" * 9000, 1),
    # Sides and shapes.
    "png-16000000-high": lambda: thin(1, 16_000_000),
    "png-16000000-wide": lambda: thin(16_000_000, 1),
    "png-2^31": lambda: png(2**31, 1, _TWO_BY_TWO),
    "png-2^31-1-squared": lambda: png(2**31 - 1, 2**31 - 1, _TWO_BY_TWO),
    "png-2^32-1": lambda: png(2**32 - 1, 2**32 - 1, _TWO_BY_TWO),
    "png-65536-squared": lambda: png(65536, 65536, _TWO_BY_TWO),
    "png-0": lambda: png(0, 0, _TWO_BY_TWO),
    "webp-16384": lambda: _webp(b"VP8X", b"\0" * 4 + b"\xff\x3f\0" * 2),
    "webp-2^24": lambda: _webp(b"VP8X", b"\0" * 4 + b"\xff\xff\xff" * 2),
    "webp-lossless-16384": lambda: _webp(b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(100)),
    "webp-of-no-length": lambda: b"RIFF\0\0\0\0WEBP",
    # Little that becomes much.
    "png-idat-1-gb": lambda: png(64, 64, deflated_zeros(1024)),
    "png-icc-1-gb": lambda: _with_chunk(b"iCCP", b"p\0\0" + deflated_zeros(1024)),
    "png-ztxt-1-gb": lambda: _with_chunk(b"zTXt", b"k\0\0" + deflated_zeros(1024)),
    "png-itxt-1-gb": lambda: _with_chunk(b"iTXt", b"k\0\1\0\0\0" + deflated_zeros(1024)),
    "png-100-texts-of-10-mb": lambda: _with_chunk(b"zTXt", b"k\0\0" + deflated_zeros(10), 100),
    "png-700000-chunks": lambda: _with_chunk(b"tEXt", b"k\0v", 700_000),
    "png-100000-data-chunks": lambda: _with_chunk(b"IDAT", b"", 100_000),
    "png-8-mb-of-text": lambda: _with_chunk(b"tEXt", b"k\0" + bytes(8 * _MEGA)),
    "png-8-mb-of-exif": lambda: _with_chunk(b"eXIf", b"MM\0*" + bytes(8 * _MEGA)),
    **{
        f"png-{kind.lower()}-announces-{length}": partial(_announced, kind.encode(), length)
        for kind in ("IDAT", "iCCP", "zTXt", "tEXt", "fdAT")
        for length in (2**30, 2**31 - 1, 2**32 - 1)
    },
    # What does not fit together.
    "png-palette-without-colours": lambda: png(2, 2, zlib.compress(bytes(6)), colour=PALETTE),
    "png-palette-of-none": lambda: png(
        2, 2, zlib.compress(bytes(6)), colour=PALETTE, before=chunk(b"PLTE", b"")
    ),
    "png-palette-too-short": lambda: png(
        2, 2, zlib.compress(b"\0\xff\xff" * 2), colour=PALETTE, before=chunk(b"PLTE", b"abc")
    ),
    "png-palette-of-4-bytes": lambda: png(
        2, 2, zlib.compress(bytes(6)), colour=PALETTE, before=chunk(b"PLTE", b"abcd")
    ),
    "png-palette-transparent": lambda: png(
        2, 2, zlib.compress(bytes(6)), colour=PALETTE, before=chunk(b"tRNS", bytes(300))
    ),
    "png-transparency-of-0": lambda: _with_chunk(b"tRNS", b""),
    "png-transparency-of-1": lambda: _with_chunk(b"tRNS", b"x"),
    "png-transparency-of-grey": lambda: png(
        2, 2, zlib.compress(bytes(6)), colour=GREY, before=chunk(b"tRNS", b"")
    ),
    "png-gamma-of-0": lambda: _with_chunk(b"gAMA", bytes(4)),
    "png-gamma-short": lambda: _with_chunk(b"gAMA", b""),
    "png-chroma-short": lambda: _with_chunk(b"cHRM", b"xy"),
    "png-density-short": lambda: _with_chunk(b"pHYs", b"x"),
    "png-rendering-short": lambda: _with_chunk(b"sRGB", b""),
    "png-icc-broken": lambda: _with_chunk(b"iCCP", b"p\0\0rubbish"),
    "png-icc-no-name": lambda: _with_chunk(b"iCCP", b""),
    "png-text-of-nothing": lambda: _with_chunk(b"tEXt", b""),
    "png-itxt-broken": lambda: _with_chunk(b"iTXt", b"k\0\1\7"),
    "png-ztxt-broken": lambda: _with_chunk(b"zTXt", b"k\0\7rubbish"),
    "png-two-headers": lambda: png(
        2, 2, _TWO_BY_TWO, before=chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 6, 0, 0, 0))
    ),
    "png-header-short": lambda: _SIGNATURE + chunk(b"IHDR", b"abc"),
    "png-header-missing": lambda: _SIGNATURE + chunk(b"IDAT", _TWO_BY_TWO) + chunk(b"IEND", b""),
    "png-no-data": lambda: png(2, 2, b""),
    "png-data-broken": lambda: png(2, 2, b"rubbish"),
    "png-data-short": lambda: png(640, 640, _TWO_BY_TWO),
    "png-depth-3": lambda: png(2, 2, _TWO_BY_TWO, depth=3),
    "png-depth-255": lambda: png(2, 2, _TWO_BY_TWO, depth=255),
    "png-colour-7": lambda: png(2, 2, _TWO_BY_TWO, colour=7),
    "png-filter-9": lambda: png(2, 2, zlib.compress((b"\x09" + bytes(6)) * 2)),
    "png-interlaced": lambda: png(2, 2, _TWO_BY_TWO, interlace=1),
    "png-interlace-9": lambda: png(2, 2, _TWO_BY_TWO, interlace=9),
    "png-wrong-checksum": lambda: encode(_FLAT)[:40] + b"\0" + encode(_FLAT)[41:],
    "apng-2^31-frames": lambda: _with_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)),
    "apng-0-frames": lambda: _with_chunk(b"acTL", bytes(8)),
    "apng-control-short": lambda: _with_chunk(b"acTL", b"x"),
    "apng-frame-outside": lambda: _with_chunk(
        b"fcTL", struct.pack(">IIIIIHHBB", 0, 9, 9, 2**31, 2**31, 1, 0, 9, 9)
    ),
    # What is unusual and allowed.
    "apng-200-frames": lambda: _animated("PNG", 200),
    "webp-200-frames": lambda: _animated("WEBP", 200),
    "jpeg-progressive": lambda: encode(noise(), "JPEG", progressive=True),
    "jpeg-cmyk": lambda: encode(PIL.Image.new("CMYK", (64, 64)), "JPEG"),
    "jpeg-grey": lambda: encode(PIL.Image.new("L", (64, 64)), "JPEG"),
    "png-16-bit-grey": lambda: encode(PIL.Image.new("I;16", (64, 64), 4096)),
    "png-16-bit-rgba": lambda: png(2, 2, zlib.compress(bytes(34)), depth=16, colour=RGBA),
    "png-1-bit": lambda: png(2, 2, zlib.compress(bytes(4)), depth=1, colour=GREY),
    "png-1-pixel": lambda: encode(PIL.Image.new("RGB", (1, 1))),
    "png-2-to-1000": lambda: encode(PIL.Image.new("RGB", (2, 1000))),
    # Turned and turned again.
    **{f"exif-{value}": partial(_exif, value) for value in (0, 6, 9, 65535)},
    "exif-loop": _looping_exif,
    "exif-4-gb": _huge_exif,
    # Other formats, and what looks like one of ours.
    "gif": lambda: encode(_FLAT, "GIF"),
    "tiff": lambda: encode(_FLAT, "TIFF"),
    "bmp": lambda: encode(_FLAT, "BMP"),
    "ico": lambda: encode(_FLAT, "ICO"),
    "ppm": lambda: encode(_FLAT, "PPM"),
    "eps": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) run\n",
    "pdf": lambda: b"%PDF-1.7\n",
    "svg": lambda: (
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    ),
    "empty": lambda: b"",
    "one-byte": lambda: b"\x89",
    "gif-that-begins-like-a-jpeg": lambda: b"\xff\xd8\xff" + encode(_FLAT, "GIF"),
    "png-and-archive": lambda: encode(_FLAT) + b"PK\x03\x04" + bytes(1000),
    "zeros": lambda: bytes(1_000_000),
}

# Those of them that are good pictures: they must be taken.
TAKEN: Final = frozenset(
    {
        *("apng-200-frames", "webp-200-frames", "jpeg-progressive", "jpeg-cmyk", "jpeg-grey"),
        *("png-16-bit-grey", "png-16-bit-rgba", "png-1-bit", "png-1-pixel", "png-and-archive"),
        *("exif-0", "exif-6", "exif-9", "exif-65535"),
    }
)
# Those that must be refused, as decoding them costs others their time.
REFUSED: Final = frozenset(
    {
        *("jpeg-101-scans", "jpeg-900-scans", "jpeg-of-12-mb-of-scans", "jpeg-65535"),
        *("png-16000000-high", "png-16000000-wide", "png-2^31", "png-2^31-1-squared"),
        *("png-2^32-1", "png-65536-squared", "webp-16384", "webp-2^24", "webp-lossless-16384"),
        *("png-palette-transparent", "gif", "tiff", "bmp", "ico", "ppm", "eps", "pdf", "svg"),
        *("empty", "one-byte", "zeros"),
    }
)
