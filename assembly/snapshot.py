"""The snapshot: what is on the disk, read in a thread and then looked up in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Snapshot(Generic[Value]):
    """The result of the last look at something that other processes change.

    Args:
        look: reads it; may take long. Called at once, and in a thread by each ``refresh``.
    """

    def __init__(self, look: Callable[[], Value]) -> None:
        self._look = look
        self._value = look()
        self._begun = self._done = 0  # the number of the latest look
        self._looking = asyncio.Lock()

    @property
    def value(self) -> Value:
        """What the last look found. Safe from any thread."""
        return self._value

    async def refresh(self) -> None:
        """Look again: afterwards ``value`` has all that was there when this was called.

        Callers that come while a look is under way share the next one.
        """
        latest = self._begun
        async with self._looking:
            if self._done > latest:
                return
            self._begun += 1
            number = self._begun
            self._value = await asyncio.to_thread(self._look)
            self._done = number
