"""Compressed bodies: gzip and deflate, inflated within a bound."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping
from typing import Final

from contract.errors import ErrorCode, RequestError

# zlib's number of each content coding (RFC 9110, section 8.4.1).
_WINDOWS: Final[Mapping[str, int]] = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
# Inflating so much takes some milliseconds.
_CHUNK: Final = 1024 * 1024


def check(encoding: str) -> None:
    """Raise ``RequestError(UNSUPPORTED_MEDIA_TYPE)`` for a Content-Encoding that is not known."""
    if encoding not in {"identity", *_WINDOWS}:
        raise RequestError(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Encoding must be one of {', '.join(_WINDOWS)}, got {encoding!a}",
            field="Content-Encoding",
        )


async def inflate(
    body: bytearray, encoding: str, bound: int, cover: Callable[[int], None]
) -> bytearray:
    """What a compressed body holds; ``body`` itself where it is not compressed.

    Args:
        body: the whole body, as it came.
        encoding: what ``check`` has let pass.
        bound: bytes that may come out of it.
        cover: reserves memory for so many bytes in all before they are there; may raise.

    Raises:
        RequestError: INVALID_REQUEST for what is no such stream, or no single one;
            PAYLOAD_TOO_LARGE above the bound.
    """
    if encoding == "identity":
        return body
    stream = zlib.decompressobj(_WINDOWS[encoding])
    inflated = bytearray()
    rest: bytes | bytearray = body
    while not stream.eof:
        room = min(_CHUNK, bound + 1 - len(inflated))
        cover(len(inflated) + room)
        try:
            # zlib lets other threads run meanwhile.
            chunk = await asyncio.to_thread(stream.decompress, rest, room)
        except zlib.error:
            raise _invalid(f"is not valid {encoding}") from None
        inflated += chunk
        if len(inflated) > bound:
            raise RequestError(
                ErrorCode.PAYLOAD_TOO_LARGE,
                f"the body must be at most {bound} bytes long once it is inflated, got more",
            )
        rest = stream.unconsumed_tail
        if not chunk and not rest and not stream.eof:
            raise _invalid(f"is not valid {encoding}: it ends early")
    if stream.unused_data:
        raise _invalid(f"must be one {encoding} stream, and goes on after its end")
    return inflated


def _invalid(what: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_REQUEST, f"the body {what}")
