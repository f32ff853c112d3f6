"""Batches: what waits while a batch is done goes into the next one.

So writes share a transaction and its trip to the disk, of which there are few hundred a second,
however much is in each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")

_MOST: Final = 128


class Batches(Generic[I, R]):
    """Does one batch after the other.

    Args:
        do: does a batch as a whole or not at all; returns the results in the order of the items.
    """

    def __init__(self, do: Callable[[Sequence[I]], Awaitable[Sequence[R]]]) -> None:
        self._do = do
        self._waiting: list[tuple[I, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None

    async def add(self, item: I) -> R:
        """Have an item done with those that wait; returns its result.

        An item that raises takes nothing but itself back. One whose caller gives up may be done
        all the same.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await future

    async def idle(self) -> None:
        """Wait until nothing waits."""
        while self._task is not None and not self._task.done():
            await asyncio.wait((self._task,))

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            if not await self._done(batch, alone=len(batch) == 1):
                # One of them is at fault: each for itself.
                for one in batch:
                    await self._done([one], alone=True)

    async def _done(self, batch: list[tuple[I, asyncio.Future[Any]]], alone: bool) -> bool:
        """Do a batch; False where it failed, and it is not said to anyone."""
        try:
            results = await self._do([item for item, _ in batch])
        except Exception as error:
            if alone and not batch[0][1].done():
                batch[0][1].set_exception(error)
            return alone
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
        return True
