"""Uploads: request bodies, read in one place, within a bound on all of them in memory."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Container, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from api import clients, forms, inflate
from api.bodies import Body
from api.body_budget import BodyBudget, Reservation
from contract.errors import ErrorCode, RequestError
from settings import Settings

B = TypeVar("B", bound=Body)

_JSON_TYPE = re.compile(r"application/(json|[\w.-]+\+json)")
# Parsing so much takes a few milliseconds, and handing it to a thread does so too.
_INLINE: Final = 64 * 1024
# Of commas, colons and brackets: a body above _INLINE bytes carries pictures, which have none.
_MAX_STRUCTURE: Final = 16 * 1024


class Uploads:
    """Reads bodies, and frees their memory. ``api.body_limits`` bounds each, and its time.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        half = settings.max_bodies_bytes // 2
        self.budget = BodyBudget(settings.max_bodies_bytes, max(half, settings.max_body_bytes))

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytearray]:
        """The body of a request; nobody may keep any of it after the block.

        Every protocol reads its bodies here: what is reserved for one is free after the block.

        Raises:
            RequestError: BUSY, before anything is read, where it does not fit into memory.
        """
        with self.budget.reservation(clients.current()) as reservation:
            yield await _read(request, reservation)

    @asynccontextmanager
    async def inflated(self, request: Request) -> AsyncIterator[bytearray]:
        """The body of a request that may be compressed, as what it holds; otherwise as ``body``.

        Raises:
            RequestError: UNSUPPORTED_MEDIA_TYPE for another encoding than gzip and deflate,
                PAYLOAD_TOO_LARGE where it holds more than a body may, INVALID_REQUEST, BUSY.
        """
        encoding = ", ".join(request.headers.getlist("content-encoding")).lower() or "identity"
        inflate.check(encoding)
        with self.budget.reservation(clients.current()) as reservation:
            body = await _read(request, reservation)
            compressed = len(body)
            yield await inflate.inflate(
                body,
                encoding,
                self._settings.max_body_bytes,
                lambda size: reservation.cover(compressed + size),
            )

    async def read(self, request: Request) -> bytes:
        """A small body, for those who are done with it before they wait for anything else."""
        async with self.body(request) as body:
            return bytes(body)

    @asynccontextmanager
    async def form(
        self, request: Request, pictures: Sequence[str], texts: Sequence[str] = ()
    ) -> AsyncIterator[Mapping[str, memoryview]]:
        """The parts of a multipart request by their names; they are released after the block.

        Args:
            request: the request.
            pictures: names of parts that may be as long as a body.
            texts: names of parts that are JSON, and no longer than JSON may be.

        Raises:
            RequestError: UNSUPPORTED_MEDIA_TYPE for another content type, BUSY, and what
                ``api.forms.read`` raises.
        """
        _check_form(request)
        longest = dict.fromkeys(pictures, self._settings.max_body_bytes)
        longest |= dict.fromkeys(texts, self._settings.max_json_bytes)
        async with self.body(request) as body:
            parts = forms.read(body, request.headers["content-type"], longest)
            try:
                yield parts
            finally:
                _release(parts.values())

    @asynccontextmanager
    async def parts(
        self, request: Request, pictures: Container[str], most: int
    ) -> AsyncIterator[Sequence[tuple[str, memoryview]]]:
        """The parts of a multipart request of any names, in their order; likewise released.

        Args:
            request: the request.
            pictures: names of parts that may be as long as a body; others are texts.
            most: parts that there may be.

        Raises:
            RequestError: UNSUPPORTED_MEDIA_TYPE for another content type, BUSY, and what
                ``api.forms.split`` raises.
        """
        _check_form(request)
        whole, text = self._settings.max_body_bytes, self._settings.max_json_bytes

        def longest(name: str) -> int:
            return whole if name in pictures else text

        async with self.body(request) as body:
            parts = forms.split(body, request.headers["content-type"], longest, most)
            try:
                yield parts
            finally:
                _release(part for _, part in parts)

    async def parse(self, schema: type[B], data: bytes | bytearray) -> B:
        """Parse JSON of any length that a body may have, a long one in a thread.

        The parser lets no other thread run meanwhile, so what makes it slow is bounded: the number
        of elements, whatever their length.

        Raises:
            RequestError: what ``Body.parse`` raises, and PAYLOAD_TOO_LARGE for a long body with
                too many elements.
        """
        if len(data) <= _INLINE:
            return schema.parse(data)
        structure = sum(map(data.count, (b",", b":", b"[", b"{")))
        if structure > _MAX_STRUCTURE:
            raise RequestError(
                ErrorCode.PAYLOAD_TOO_LARGE,
                f"a body above {_INLINE} bytes must have at most {_MAX_STRUCTURE} commas, colons "
                f"and brackets, got {structure}",
            )
        return await asyncio.to_thread(schema.parse, data)


async def _read(request: Request, reservation: Reservation) -> bytearray:
    """The body of a request, with memory reserved for it."""
    announced = request.headers.get("content-length", "")
    body = bytearray()
    if announced.isdecimal():
        reservation.cover(int(announced))
        body = bytearray(int(announced))
    await _fill(body, request, reservation)
    return body


async def _fill(body: bytearray, request: Request, reservation: Reservation) -> None:
    """Read a body to its end into ``body``, which has its announced length."""
    filled = 0
    async for chunk in request.stream():
        end = filled + len(chunk)
        reservation.cover(end)
        body[filled:end] = chunk
        filled = end
    del body[filled:]


def _check_form(request: Request) -> None:
    given = media_type(request)
    if given != forms.MEDIA_TYPE:
        raise unsupported(forms.MEDIA_TYPE, given)


def _release(parts: Iterable[memoryview]) -> None:
    for part in parts:
        part.release()


def media_type(request: Request) -> str:
    """The media type of a request's body, without its options; empty where it has none."""
    given, _ = parse_options_header(request.headers.get("content-type"))
    return given.decode("latin-1")


def is_json(request: Request) -> bool:
    """Whether the body of a request is said to be JSON.

    None is not JSON either: a browser asks first only where a page sends this very type.
    """
    return _JSON_TYPE.fullmatch(media_type(request)) is not None


def check_json(request: Request) -> None:
    """Raise ``RequestError(UNSUPPORTED_MEDIA_TYPE)`` for a body that is not said to be JSON."""
    if not is_json(request):
        raise unsupported("application/json", media_type(request))


def unsupported(expected: str, given: str) -> RequestError:
    """The error for a body of another media type."""
    return RequestError(
        ErrorCode.UNSUPPORTED_MEDIA_TYPE,
        f"Content-Type must be {expected}, got {given or 'none'}",
        field="Content-Type",
    )
