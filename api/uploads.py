"""Uploads: request bodies, read in one place, and worked on in a few threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import anyio
import anyio.to_thread
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from api import forms
from contract.errors import ErrorCode, RequestError

T = TypeVar("T")

# Each decoder may hold a few copies of a picture of max_input_pixels.
_PARALLEL_DECODERS: Final = 2


class Uploads:
    """Reads bodies, and runs the work on them that would block the event loop."""

    def __init__(self) -> None:
        self._decoders = anyio.CapacityLimiter(_PARALLEL_DECODERS)

    async def read(self, request: Request) -> bytes:
        """The body of a request, of any length that the host lets through.

        Every protocol reads its bodies here, so that a bound on all bodies in memory has one place.
        """
        return await request.body()

    async def read_form(self, request: Request) -> bytes:
        """The body of a multipart request, not yet split.

        Raises:
            RequestError: UNSUPPORTED_MEDIA_TYPE for another content type.
        """
        given = media_type(request)
        if given != forms.MEDIA_TYPE:
            raise unsupported(forms.MEDIA_TYPE, given)
        return await self.read(request)

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking work in a thread, at most two at a time. Raises whatever it raises."""
        return await anyio.to_thread.run_sync(work, limiter=self._decoders)


def media_type(request: Request) -> str:
    """The media type of a request's body, without its options; empty where it has none."""
    given, _ = parse_options_header(request.headers.get("content-type"))
    return given.decode("latin-1")


def unsupported(expected: str, given: str) -> RequestError:
    """The error for a body of another media type."""
    return RequestError(
        ErrorCode.UNSUPPORTED_MEDIA_TYPE,
        f"Content-Type must be {expected}, got {given or 'none'}",
        field="Content-Type",
    )
