"""Turns: who may use one of a few slots next."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Slots, and a queue for them that clients share.

    The next turn is of the client with the fewest slots, and among those of whoever came first.

    Args:
        slots: how many turns there are at a time.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._taken: Counter[str] = Counter()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """Hold a slot in the block."""
        if self._free:
            self._free -= 1
            self._taken[client] += 1
        else:
            granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (client, granted)
            self._waiting.append(entry)
            try:
                await granted
            except asyncio.CancelledError:
                if entry in self._waiting:
                    self._waiting.remove(entry)
                elif not granted.cancelled():
                    self._pass_on(client)
                raise
        try:
            yield
        finally:
            self._pass_on(client)

    def _pass_on(self, client: str) -> None:
        """Give a client's slot to the next one in the queue."""
        self._taken[client] -= 1
        if not self._taken[client]:
            del self._taken[client]
        if not self._waiting:
            self._free += 1
            return
        entry = min(self._waiting, key=lambda waiting: self._taken[waiting[0]])
        self._waiting.remove(entry)
        following, granted = entry
        self._taken[following] += 1
        granted.set_result(None)
