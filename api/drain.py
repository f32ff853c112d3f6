"""The drain: a shutdown that finishes accepted work and refuses new work."""

from __future__ import annotations

import asyncio
from functools import partial

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import admission
from api.error_boundary import error_response
from api.protocols.base import Protocols

# The paths that orchestrators and operators look at while the service shuts down.
ALWAYS_OPEN = frozenset({"/livez", "/healthz", "/metrics"})


class Drain:
    """The requests in flight, and whether new ones are accepted."""

    def __init__(self) -> None:
        self._in_flight: dict[asyncio.Task[None], admission.Candidate] = {}
        self.draining = False

    def start(self) -> None:
        """Refuse new work from now on, and what waits for its admission."""
        self.draining = True
        for task, candidate in self._in_flight.items():
            candidate.closed = True
            if candidate.waits:
                task.cancel()

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
        candidate = admission.Candidate()
        with admission.of(candidate):
            task = asyncio.create_task(_call(app, scope, receive, send))
        self._in_flight[task] = candidate
        task.add_done_callback(self._in_flight.pop)
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
            render = partial(self._protocols.error_response, scope)
            response = error_response(admission.shutting_down(), render)
            await response(scope, receive, send_noting)

    def _is_open(self, path: str) -> bool:
        return path in ALWAYS_OPEN or self._protocols.serves_while_draining(path)


async def _call(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)
