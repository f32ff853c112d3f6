"""The drain: a shutdown that finishes accepted work and refuses new work."""

from __future__ import annotations

import asyncio
from functools import partial

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.error_boundary import error_response
from api.protocols.base import Protocols
from contract.errors import ErrorCode, RequestError

# The paths that orchestrators and operators look at while the service shuts down.
ALWAYS_OPEN = frozenset({"/livez", "/healthz", "/metrics"})


class Drain:
    """The requests in flight, and whether new ones are accepted."""

    def __init__(self) -> None:
        self._in_flight: set[asyncio.Task[None]] = set()
        self.draining = False

    def start(self) -> None:
        """Refuse new work from now on."""
        self.draining = True

    async def finish(self, seconds: float) -> None:
        """Wait for the work in flight; unfinished work is cancelled after ``seconds``."""
        if self._in_flight:
            _, late = await asyncio.wait(self._in_flight, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> bool:
        """Serve one request as work in flight. False: it was cancelled before it had finished."""
        task = asyncio.create_task(_call(app, scope, receive, send))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.cancelled():
            return False
        task.result()
        return True


class DrainGate:
    """Middleware that lets no new work in while ``drain`` is draining.

    Args:
        app: the application.
        drain: has the requests in flight.
        protocols: render the refusals.
    """

    def __init__(self, app: ASGIApp, drain: Drain, protocols: Protocols) -> None:
        self._app = app
        self._drain = drain
        self._protocols = protocols

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        started = False

        async def send_noting(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if self._drain.draining:
                    # A client that keeps its connection would keep talking to this process.
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        refused = self._drain.draining
        if not refused:
            refused = not await self._drain.run(self._app, scope, receive, send_noting)
        if refused and not started:
            error = RequestError(ErrorCode.NOT_READY, "the service is shutting down")
            response = error_response(error, partial(self._protocols.error_response, scope))
            await response(scope, receive, send_noting)

    def _is_open(self, path: str) -> bool:
        return path in ALWAYS_OPEN or self._protocols.serves_while_draining(path)


async def _call(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)
