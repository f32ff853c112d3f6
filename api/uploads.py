"""What clients upload, read and worked on without holding up anybody else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
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
    """Splits forms, and works on their parts in a few threads."""

    def __init__(self) -> None:
        self._decoders = anyio.CapacityLimiter(_PARALLEL_DECODERS)

    async def process(
        self, body: bytes, content_type: str, names: Collection[str], work: Work[T]
    ) -> T:
        """Split a form with exactly the parts ``names``; returns what ``work`` makes of them.

        Raises:
            RequestError: it is not such a form, and whatever ``work`` raises.
        """
        return await self.run(lambda: work(forms.read(body, content_type, names)))

    async def run(self, work: Callable[[], T]) -> T:
        """Do other work that takes its time, in the same threads."""
        return await anyio.to_thread.run_sync(work, limiter=self._decoders)


Work = Callable[[Mapping[str, bytes]], T]


async def form_body(request: Request) -> bytes:
    """The body of a multipart request, of any length that the host lets through.

    Raises:
        RequestError: UNSUPPORTED_MEDIA_TYPE, where it is none.
    """
    given = media_type(request)
    if given != forms.MEDIA_TYPE:
        raise unsupported(forms.MEDIA_TYPE, given)
    return await request.body()


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
