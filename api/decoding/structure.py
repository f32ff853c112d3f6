"""The structure of picture files, looked at before anything is decoded.

A decoder's work grows with the number of scans and chunks of a file, which hostile files have by
the thousand, each of a few bytes.
"""

from __future__ import annotations

import re
from typing import Final

# The most that an encoder writes is about a dozen (jpegtran's scripts), for a progressive file.
MAX_SCANS: Final = 100
# Of 8 KiB each, as encoders write them, those of a body of 12 MiB are 1,536.
MAX_CHUNKS: Final = 10_000

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# Markers that no length follows: TEM, RST0 to RST7, SOI.
_LONELY: Final = frozenset({0x01, *range(0xD0, 0xD9)})
# In the data of a scan, stuffed bytes (FF 00) and restart markers are none. Any number of FF may
# stand before one, which needs no part in the pattern: it would take quadratic time.
_NEXT_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")


def excess(data: bytes, file_format: str) -> str | None:
    """What a PNG or JPEG file has too much of, as ``at most 100 scans``; None if nothing."""
    if file_format == "JPEG":
        return _excess_of_jpeg(data)
    if file_format == "PNG":
        return _excess_of_png(data)
    return None


def _excess_of_jpeg(data: bytes) -> str | None:
    """ITU T.81, annex B: segments, each with its length, and after some of them a scan's data."""
    scans = segments = 0
    position = 2
    while marker := _NEXT_MARKER.search(data, position):
        kind, position = marker[1][0], marker.end()
        if kind == _END_OF_IMAGE:
            break
        segments += 1
        scans += kind == _START_OF_SCAN
        if scans > MAX_SCANS:
            return f"at most {MAX_SCANS} scans"
        if segments > MAX_CHUNKS:
            return f"at most {MAX_CHUNKS} segments"
        if kind not in _LONELY:
            position += int.from_bytes(data[position : position + 2])
    return None


def _excess_of_png(data: bytes) -> str | None:
    """https://www.w3.org/TR/png-3/#5Chunk-layout: chunks, each with its length, up to IEND."""
    position = 8
    for _ in range(MAX_CHUNKS):
        kind = data[position + 4 : position + 8]
        position += 12 + int.from_bytes(data[position : position + 4])
        if kind == b"IEND" or position >= len(data):
            return None
    return f"at most {MAX_CHUNKS} chunks"
