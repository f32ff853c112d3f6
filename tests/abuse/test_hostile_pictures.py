"""Hostile pictures: taken or refused within seconds, and only their own client waits for that."""

from __future__ import annotations

import struct
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests import uploads
from tests.abuse.pictures import HOSTILE, REFUSED, TAKEN, progressive, thin
from tests.abuse.target import DECODE_SECONDS, OTHER, PICTURE, Target, decoded
from tests.effort import FULL, effort

ENDPOINTS = ("/img2img", "/inpaint", "/classify")
STATUSES = {200, 400, 413, 415, 422}
# What any of them may take; all but a few take milliseconds.
SECONDS = 20.0


def _check(response: httpx.Response) -> int:
    assert response.status_code in STATUSES, response.text
    if response.status_code != 200:
        assert len(response.json()["error"]["message"]) < 500
    elif response.headers["content-type"].startswith("image/"):
        decoded(response.content)
    return response.status_code


def _upload(victim: Target, data: bytes, path: str) -> int:
    started = time.monotonic()
    status = _check(victim.post_picture(data, path))
    assert time.monotonic() - started < SECONDS
    return status


@pytest.mark.parametrize("name", HOSTILE)
def test_a_picture_of_any_kind(victim: Target, name: str) -> None:
    data = HOSTILE[name]()
    # Usually to one endpoint; which one is its own does not change.
    places = effort(1, len(ENDPOINTS))
    start = zlib.crc32(name.encode()) % len(ENDPOINTS)
    statuses = {
        _upload(victim, data, (ENDPOINTS * 2)[place]) for place in range(start, start + places)
    }

    if name in TAKEN:
        # A mask must have the size of its picture.
        assert statuses <= {200, 422}
    elif name in REFUSED:
        assert statuses <= STATUSES - {200}


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_picture(victim: Target, file_format: str) -> None:
    data = uploads.encode(uploads.noise(), file_format)
    for end in range(1, len(data), len(data) // effort(12, 250)):
        assert _upload(victim, data[:end], "/classify") in {400, 415, 200}, end


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_a_picture_with_a_changed_byte(victim: Target, file_format: str) -> None:
    data = uploads.encode(uploads.red_and_blue(), file_format)
    for place in range(0, len(data), max(1, len(data) // effort(24, 2000))):
        for value in (0, data[place] ^ 0xFF):
            changed = data[:place] + bytes([value]) + data[place + 1 :]
            _upload(victim, changed, "/classify")


_KINDS = [
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"tEXt"),
    *(b"zTXt", b"iTXt", b"pHYs", b"bKGD", b"sBIT", b"hIST", b"tIME", b"sPLT", b"eXIf", b"acTL"),
    *(b"fcTL", b"fdAT", b"cICP", b"XXXX", b"\x00\x00\x00\x00"),
]
_SIDES = st.one_of(st.integers(0, 40), st.sampled_from([4000, 2**16, 2**31 - 1, 2**31, 2**32 - 1]))
_DATA = st.one_of(
    st.binary(max_size=40),
    st.binary(max_size=200).map(zlib.compress),
    st.integers(0, 4000).map(lambda length: zlib.compress(bytes(length))),
    st.binary(max_size=20).map(lambda text: b"k\0" + text),
    st.binary(max_size=20).map(lambda text: b"k\0\0" + zlib.compress(text)),
)
_HEADER = st.builds(
    lambda *fields: struct.pack(">IIBBBBB", *fields),
    *(_SIDES, _SIDES, st.sampled_from([1, 2, 4, 8, 16, 3]), st.sampled_from([0, 2, 3, 4, 6, 1])),
    *(st.sampled_from([0, 0, 0, 1]), st.sampled_from([0, 0, 0, 1]), st.integers(0, 2)),
)
_CHUNKS = st.lists(st.tuples(st.sampled_from(_KINDS), _DATA), max_size=8)


@given(header=_HEADER, chunks=_CHUNKS, pixels=_DATA, endpoint=st.sampled_from(ENDPOINTS))
@settings(
    max_examples=effort(60, 5000),
    deadline=None,
    derandomize=not FULL,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
def test_a_png_of_any_chunks(
    victim: Target,
    header: bytes,
    chunks: list[tuple[bytes, bytes]],
    pixels: bytes,
    endpoint: str,
) -> None:
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(uploads.chunk(*part) for part in parts)
    _upload(victim, data, endpoint)


@pytest.mark.slow
@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(lambda: progressive(2000), id="scans"),
        pytest.param(lambda: thin(1, 16_000_000), id="high"),
        pytest.param(HOSTILE["jpeg-of-fill-bytes"], id="fill-bytes"),
        pytest.param(HOSTILE["png-idat-1-gb"], id="1-gb"),
    ],
)
def test_the_others_upload_meanwhile(victim: Target, bomb: Callable[[], bytes]) -> None:
    """Pictures that hold their decoders, and a client that only wants its picture changed."""
    data = bomb()
    attackers = [
        threading.Thread(target=lambda: _check_or_busy(victim, data)) for _ in range(effort(4, 12))
    ]
    for attacker in attackers:
        attacker.start()
    waited: list[float] = []
    while not waited or any(attacker.is_alive() for attacker in attackers):
        started = time.monotonic()
        response = victim.post_picture(PICTURE)
        assert response.status_code == 200, response.text
        assert victim.server.client.get("/livez").status_code == 200
        waited.append(time.monotonic() - started)
    for attacker in attackers:
        attacker.join()

    # Alone it is 0.2 s. Two JPEGs of 90 kB, of the 12 MB that are allowed, once made it 34.
    assert max(waited) < 4 * DECODE_SECONDS


def test_an_upload_whose_client_has_gone_is_dropped(victim: Target) -> None:
    """The decoders are not busy with it: the next one is decoded at once."""
    # As many scans as are allowed, of as many pixels: seconds of work for a decoder, if it is let.
    data = progressive(100)
    for _ in range(8):
        with suppress(httpx.TimeoutException), victim.client(OTHER) as client:
            files = {"img": ("p", data), "data": (None, b'{"prompt":"x"}')}
            client.post("/img2img", files=files, timeout=0.2)
    started = time.monotonic()

    assert victim.post_picture(PICTURE).status_code == 200
    assert time.monotonic() - started < 2 * DECODE_SECONDS


def _check_or_busy(victim: Target, data: bytes) -> None:
    response = victim.post_picture(data, source=OTHER)
    assert response.status_code in STATUSES | {429}, response.text
