"""The protocol of a connection: uvicorn's for HTTP/1.1 on h11, with bounds on what clients may do.

Bounded are the head of a request, idle connections, what is read after a response, and responses
that nobody takes. Bodies are bounded by ``api.middleware``, and the time of a request by its
deadline.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any

import h11
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol
from uvicorn.server import ServerState

from api import clients, request_id
from api.drain import ALWAYS_OPEN
from contract.errors import ErrorCode, RequestError
from serving.connections import Connections
from serving.half_closing import HalfClosing
from serving.parser import MAX_HEAD_BYTES, MAX_HEADERS, Parser

logger = logging.getLogger(__name__)

# After a response, what the client is still sending is read and discarded for so long: closing the
# socket would reset the connection, and the client might never see the response (RFC 9112, 9.6).
_LINGER_SECONDS = 5.0
_LINGER_BYTES = 64 * 1024**2
# A client that takes not one byte of its response for so long is given up.
_STALL_SECONDS = 30.0
_REQUEST_READ = (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)


class Phase(Enum):
    """What a connection is doing."""

    HEAD = auto()
    """A request's head is awaited: the first one, or one that has begun to arrive."""
    REQUEST = auto()
    """A request is in flight."""
    DISCARD = auto()
    """The response is out, and the rest of the request's body is read and discarded."""
    IDLE = auto()
    """Kept alive between two requests."""
    CLOSING = auto()
    """We have said our last word; what comes is discarded until the client closes, too."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a connection.

    Attributes:
        head_seconds: from the connection, or the first byte of a later head, to the head's end.
        idle_seconds: between two requests.
    """

    head_seconds: float
    idle_seconds: float


class Connection(H11Protocol):
    """One client's connection.

    Args:
        config, server_state, app_state, _loop: uvicorn's.
        bounds: of time.
        connections: all of the server's.
        render: makes the response to what no application gets to see.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        bounds: Bounds,
        connections: Connections,
        render: Callable[[RequestError], Response],
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn: Parser = Parser()
        self.address = ""
        self._phase = Phase.HEAD
        self._seconds = {
            Phase.HEAD: bounds.head_seconds,
            Phase.IDLE: bounds.idle_seconds,
            Phase.DISCARD: _LINGER_SECONDS,
            Phase.CLOSING: _LINGER_SECONDS,
        }
        self._others = connections
        self._render = render
        self._timer: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._discarded = 0
        self._unsent = 0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._socket = transport
        stand_in = HalfClosing(transport, self._close, self._is_closing)
        super().connection_made(stand_in)  # type: ignore[arg-type]
        self.address = clients.identity(self.client[0]) if self.client else ""
        if not self._others.add(self):
            self.app = partial(self._no_place, self.app)
        self._enter(Phase.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        self._others.remove(self)
        for timer in (self._timer, self._stall):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._phase in (Phase.DISCARD, Phase.CLOSING):
            self._discarded += len(data)
            if self._discarded > _LINGER_BYTES:
                self._socket.abort()
        if not self._is_closing():
            super().data_received(data)
            self._settle()

    def eof_received(self) -> None:
        # asyncio closes the transport now, and waits for the client to take what is in its buffer.
        self._enter(Phase.CLOSING)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_progress()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    # What uvicorn calls.

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()  # uvicorn's timer; there is one of ours for each phase
        self._settle()

    def send_400_response(self, msg: str) -> None:
        fault = self.conn.fault
        if fault is not None and fault.error_status_hint == 431:
            msg = (
                f"the request's head must be at most {MAX_HEAD_BYTES} bytes long "
                f"with at most {MAX_HEADERS} headers"
            )
        else:
            msg = "the request is not valid HTTP/1.1"
        self._refuse(msg)

    def shutdown(self) -> None:
        if self._phase is Phase.REQUEST:
            self.cycle.keep_alive = False
        else:
            self._close()

    def _unsupported_upgrade_warning(self) -> None:
        """An offer such as Java's of h2c may be declined; that is nothing to write down."""

    # What the other connections call.

    def displace(self) -> None:
        """Close at once, as a new connection needs the place."""
        self._socket.abort()

    def _is_closing(self) -> bool:
        return self._phase is Phase.CLOSING or self._socket.is_closing()

    def _settle(self) -> None:
        """Enter the phase that the request and the response are in."""
        if self._is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            phase = Phase.REQUEST
        elif self.conn.their_state is h11.SEND_BODY:
            phase = Phase.DISCARD
        elif self.cycle is None or self.conn.trailing_data[0]:
            phase = Phase.HEAD
        else:
            phase = Phase.IDLE
        # What trickles in does not prolong a phase.
        if phase is not self._phase:
            self._enter(phase)

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if phase is Phase.REQUEST:
            self._others.work(self)
            return
        self._others.wait(self)
        self._discarded = 0
        self._unsent = self._socket.get_write_buffer_size() + 1
        self._timer = self.loop.call_later(self._seconds[phase], self._expire)

    def _expire(self) -> None:
        if self._phase is Phase.CLOSING:
            self._timer = None
            self._check_progress()
        elif self._phase is Phase.HEAD and self.conn.trailing_data[0]:
            seconds = self._seconds[Phase.HEAD]
            self._refuse(f"the request's head was not complete after {seconds:g} s")
        else:
            self._close()

    def _watch_progress(self) -> None:
        self._unsent = self._socket.get_write_buffer_size()
        if self._stall is not None:
            self._stall.cancel()
        self._stall = self.loop.call_later(_STALL_SECONDS, self._check_progress)

    def _check_progress(self) -> None:
        """Give up a client that has taken nothing of what waits for it since the last time."""
        unsent = self._socket.get_write_buffer_size()
        if not unsent or unsent >= self._unsent:
            self._socket.abort()
            return
        self._watch_progress()

    def _close(self) -> None:
        """Close for writing; for reading, too, once nothing more is on its way to us."""
        if self._is_closing():
            return
        between_requests = self.conn.their_state in (*_REQUEST_READ, h11.IDLE)
        everything_read = between_requests and not self.conn.trailing_data[0]
        self._enter(Phase.CLOSING)
        if everything_read or not self._socket.can_write_eof():
            self._socket.close()
        else:
            self._socket.write_eof()
            self.flow.resume_reading()

    def _refuse(self, message: str) -> None:
        """Answer what no application gets to see, as far as that can still be done, and close."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        name = request_id.choose(None)
        token = request_id.current.set(name)
        try:
            logger.info("%s: %s", self.address, message)
            response = self._render(RequestError(ErrorCode.INVALID_REQUEST, message))
        finally:
            request_id.current.reset(token)
        headers = [
            *self.server_state.default_headers,
            *response.raw_headers,
            (b"x-request-id", name.encode()),
            (b"connection", b"close"),
        ]
        status = response.status_code
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            for event in (
                h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status]),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            ):
                self._socket.write(self.conn.send(event) or b"")
        self._close()

    async def _no_place(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """The application where there was no place for the connection."""
        if scope["path"] in ALWAYS_OPEN:
            await app(scope, receive, send)
            return
        name = request_id.choose(None)
        token = request_id.current.set(name)
        try:
            response = self._render(
                RequestError(ErrorCode.NOT_READY, "all connections are in use", retry_after=5)
            )
        finally:
            request_id.current.reset(token)
        response.headers["X-Request-Id"] = name
        response.headers["Connection"] = "close"
        await response(scope, receive, send)
