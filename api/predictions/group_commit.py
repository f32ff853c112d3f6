"""The group commit: writes that wait at the same time share a transaction.

A disk confirms some two hundred transactions a second, however much is in each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

T = TypeVar("T")

_MOST: Final = 128


class GroupCommit:
    """Runs operations that write, one group after the other.

    Args:
        engine: begins the transactions.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._waiting: list[tuple[Callable[[AsyncConnection], Any], asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None

    async def run(self, operation: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run an operation; returns when its transaction is committed.

        An operation that raises takes nothing but itself back. One whose caller gives up may be
        committed all the same.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await future

    async def idle(self) -> None:
        """Wait until nothing waits."""
        while self._task is not None and not self._task.done():
            await asyncio.wait((self._task,))

    async def _work(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            try:
                results = await self._commit([operation for operation, _ in group])
            except Exception as error:
                if len(group) == 1:
                    _fail(group[0][1], error)
                else:
                    # One of them is at fault: each for itself.
                    for operation, future in group:
                        await self._alone(operation, future)
                continue
            for (_, future), result in zip(group, results, strict=True):
                if not future.done():
                    future.set_result(result)

    async def _alone(
        self, operation: Callable[[AsyncConnection], Any], future: asyncio.Future[Any]
    ) -> None:
        try:
            (result,) = await self._commit([operation])
        except Exception as error:
            _fail(future, error)
        else:
            if not future.done():
                future.set_result(result)

    async def _commit(self, operations: list[Callable[[AsyncConnection], Any]]) -> list[Any]:
        async with self._engine.begin() as connection:
            return [await operation(connection) for operation in operations]


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
