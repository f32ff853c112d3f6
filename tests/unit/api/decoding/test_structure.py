from __future__ import annotations

import pytest

from api.decoding import structure
from tests import uploads

OWN_SCANS = 6  # those of a grey progressive JPEG, as libjpeg writes it


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_usual_files_have_nothing_too_much(file_format: str) -> None:
    data = uploads.encode(uploads.noise(), file_format)

    assert structure.excess(data, file_format) is None


def test_the_limit_of_scans_is_exact() -> None:
    most = structure.MAX_SCANS - OWN_SCANS

    assert structure.excess(uploads.progressive(most), "JPEG") is None
    assert structure.excess(uploads.progressive(most + 1), "JPEG") == "at most 100 scans"


def test_what_only_looks_like_scans_is_none() -> None:
    """In a segment's own data, as in an EXIF thumbnail, and after the end of the picture."""
    data = uploads.encode(uploads.noise(), "JPEG")
    markers = b"\xff\xda\0\2" * 200
    segment = b"\xff\xe1" + (len(markers) + 2).to_bytes(2) + markers

    assert structure.excess(data[:2] + segment + data[2:] + markers, "JPEG") is None


def test_what_follows_the_end_of_a_png_is_no_chunk() -> None:
    after = bytes(12 * (structure.MAX_CHUNKS + 1))

    assert structure.excess(uploads.encode(uploads.noise(), "PNG") + after, "PNG") is None


@pytest.mark.parametrize("between", [b"\xff\0", b"\xff\xd0", b"\xff\xff"])
def test_scans_are_found_in_between_anything(between: bytes) -> None:
    scan = b"\xff\xda\0\2" + between * 3
    data = b"\xff\xd8" + scan * (structure.MAX_SCANS + 1)

    assert structure.excess(data, "JPEG") == "at most 100 scans"


def test_segments_and_chunks_are_counted() -> None:
    most = structure.MAX_CHUNKS
    segments = b"\xff\xd8" + b"\xff\xe1\0\2" * (most + 1)
    chunks = uploads.png(1, 1, b"", uploads.chunk(b"aaAa", b"") * most)

    assert structure.excess(segments, "JPEG") == "at most 10000 segments"
    assert structure.excess(chunks, "PNG") == "at most 10000 chunks"


@pytest.mark.parametrize("length", range(0, 60, 7))
def test_files_that_end_early_have_nothing_too_much(length: int) -> None:
    for file_format in ("PNG", "JPEG"):
        data = uploads.encode(uploads.noise(), file_format)
        assert structure.excess(data[: 2 + length], file_format) is None


def test_any_number_of_fill_bytes_takes_linear_time() -> None:
    """What they would take otherwise: hours."""
    assert structure.excess(b"\xff\xd8" + b"\xff" * 10_000_000, "JPEG") is None
