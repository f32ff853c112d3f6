"""The shutdown: SIGTERM and SIGINT finish the work in flight before the server stops."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from types import FrameType

logger = logging.getLogger(__name__)


class Shutdown:
    """Puts draining in front of the signal handlers that uvicorn has installed.

    uvicorn stops accepting at once, while BentoML's supervisor keeps the listening socket open:
    new clients would hang unanswered until the last job is done. And it waits for open streams for
    as long as they take.

    Args:
        finish: refuses new work from the moment it is called, waits for the work in flight for the
            given number of seconds, and ends what is left then.
        seconds: how long the work in flight may take.
    """

    def __init__(self, finish: Callable[[float], Awaitable[None]], seconds: float) -> None:
        self._finish_work = finish
        self._seconds = seconds
        self._finishing: asyncio.Task[None] | None = None

    def install(self) -> None:
        """Take over the signals. Call it in the server's event loop, in the main thread."""
        self._loop = asyncio.get_running_loop()
        self._servers = {
            signum: signal.signal(signum, self._on_signal)
            for signum in (signal.SIGTERM, signal.SIGINT)
        }

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        # Signal handlers run between any two instructions: only the loop may touch our state.
        self._loop.call_soon_threadsafe(self._begin, signal.Signals(signum))

    def _begin(self, signum: signal.Signals) -> None:
        if self._finishing is None:
            logger.info("%s: finishing the work in flight", signum.name)
            self._finishing = self._loop.create_task(self._finish(signum, self._seconds))
        elif signum is signal.SIGINT:
            # A second Ctrl-C. (The first comes with the supervisor's SIGTERM: not a second one.)
            self._finishing.cancel()
            self._finishing = self._loop.create_task(self._finish(signum, 0))

    async def _finish(self, signum: signal.Signals, seconds: float) -> None:
        await self._finish_work(seconds)
        server = self._servers[signum]
        if callable(server):
            server(signum, None)
