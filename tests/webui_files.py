"""Files as the AUTOMATIC1111 web UI saves them: a text in a PNG, and in the EXIF of the others."""

from __future__ import annotations

import struct

import PIL.Image
from PIL.PngImagePlugin import PngInfo

from tests import uploads


def saved(picture: PIL.Image.Image, file_format: str, text: str) -> bytes:
    """A PNG, JPEG or WebP with these parameters."""
    if file_format == "PNG":
        texts = PngInfo()
        # An iTXt chunk where it is not in Latin-1.
        texts.add_text("parameters", text)
        return uploads.encode(picture, "PNG", pnginfo=texts)
    return uploads.encode(picture, file_format, exif=_exif(text))


def _exif(text: str) -> bytes:
    """What its library (piexif) makes of a comment: big-endian, a directory in a directory."""
    comment = b"UNICODE\0" + text.encode("utf-16-be")
    first = struct.pack(">HHHIII", 1, 0x8769, 4, 1, 26, 0)
    second = struct.pack(">HHHIII", 1, 0x9286, 7, len(comment), 44, 0)
    return b"Exif\0\0" + struct.pack(">2sHI", b"MM", 42, 8) + first + second + comment
