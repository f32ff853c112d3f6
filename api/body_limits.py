"""Body limits: how long a request's body may be, and how slowly it may come."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import admission, arrival
from api.protocols.base import Protocols
from contract.errors import ErrorCode, RequestError
from settings import Settings

logger = logging.getLogger(__name__)

# A mobile network is faster; a client that trickles bytes keeps memory that others need.
FLOOR: Final = 8 * 1024  # bytes a second, on average
GRACE: Final = 10.0  # seconds that do not count, for a client that begins slowly


class BodyLimits:
    """Middleware that refuses bodies that are too long or too slow, before their end.

    It raises ``RequestError``, in the application's ``receive`` where that comes to light only
    there. While a body is on its way, its request waits for its admission (``api.admission``).

    Args:
        app: the application to protect.
        settings: the limits.
        protocols: have the bound of each path.
    """

    def __init__(self, app: ASGIApp, settings: Settings, protocols: Protocols) -> None:
        self._app = app
        self._settings = settings
        self._protocols = protocols

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bound = self._protocols.max_body(scope)
        if bound is None:
            bound = self._settings.max_json_bytes
        bound = min(bound, self._settings.max_body_bytes)
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > bound:
            raise _too_large(bound, announced)
        upload = _Upload(receive, bound, self._settings)
        await self._app(scope, upload.receive, send)


class _Upload:
    """The body of one request on its way."""

    def __init__(self, receive: Receive, bound: int, settings: Settings) -> None:
        self._receive = receive
        self._bound = bound
        self._idle = settings.body_idle_seconds
        self._deadline = settings.deadline
        self._received = 0
        self._started: float | None = None
        self._complete = False

    async def receive(self) -> Message:
        """The next message. Raises ``RequestError``: PAYLOAD_TOO_LARGE, REQUEST_TIMEOUT."""
        if self._complete:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        if self._started is None:
            self._started = self._last = now
        until, limit = min(
            (self._last + self._idle, f"without a pause of {self._idle:g} seconds"),
            (
                self._started + GRACE + self._received / FLOOR,
                f"at {FLOOR} bytes a second or more on average",
            ),
            (now + arrival.remaining(self._deadline), f"within {self._deadline:g} seconds"),
        )
        try:
            with admission.awaited():
                async with asyncio.timeout_at(until):
                    message = await self._receive()
        except TimeoutError:
            logger.info("a body came too slowly: %d bytes of it", self._received)
            raise RequestError(
                ErrorCode.REQUEST_TIMEOUT,
                f"the body must come {limit}; got {self._received} bytes of it",
            ) from None
        self._take(message)
        return message

    def _take(self, message: Message) -> None:
        size = len(message.get("body", b""))
        if size:
            self._received += size
            self._last = asyncio.get_running_loop().time()
        if self._received > self._bound:
            raise _too_large(self._bound, "more")
        self._complete = not message.get("more_body", False)


def _too_large(bound: int, size: str) -> RequestError:
    message = f"the body must be at most {bound} bytes long, got {size}"
    return RequestError(ErrorCode.PAYLOAD_TOO_LARGE, message)
