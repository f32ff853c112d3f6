"""Connections: transactions on SQLite, in threads of their own, or on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import create_async_engine

T = TypeVar("T")
Operation = Callable[[Connection], T]

_MOST: Final = 8


class Connections(Protocol):
    """Runs operations, each in a transaction."""

    async def run(self, operation: Operation[T], *, writes: bool) -> T:
        """What an operation returns; when this returns, what it ``writes`` is on the disk."""
        ...

    async def close(self) -> None:
        """Disconnect, when nothing runs any more."""
        ...


class SQLiteConnections:
    """Implements ``Connections`` for a file: an operation has one thread from its beginning to the
    commit, as each change of threads costs as much as a statement.

    Args:
        url: ``sqlite:///file``.
    """

    def __init__(self, url: URL) -> None:
        self._engine = _sqlite(url)
        self._writing = self._engine.execution_options(writes=True)
        self._threads = ThreadPoolExecutor(_MOST, "store")

    async def run(self, operation: Operation[T], *, writes: bool) -> T:
        engine = self._writing if writes else self._engine

        def transaction() -> T:
            with engine.begin() as connection:
                return operation(connection)

        return await asyncio.get_running_loop().run_in_executor(self._threads, transaction)

    async def close(self) -> None:
        self._threads.shutdown(wait=False)
        self._engine.dispose()


class PostgreSQLConnections:
    """Implements ``Connections`` for a server, in the event loop.

    Args:
        url: ``postgresql+asyncpg://...``.
    """

    def __init__(self, url: URL) -> None:
        self._engine = create_async_engine(url, pool_size=_MOST, max_overflow=0, pool_pre_ping=True)

    async def run(self, operation: Operation[T], *, writes: bool) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(operation)

    async def close(self) -> None:
        await self._engine.dispose()


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, pool_size=_MOST, max_overflow=0)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        # The driver is not to begin transactions: it begins them without the intent to write, and
        # then two may wait for each other.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode = WAL",
            # What was accepted survives a power failure as well. The price of it is shared by
            # those who wait at the same time.
            "synchronous = FULL",
            "busy_timeout = 10000",
            "foreign_keys = ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        # Through SQLAlchemy it takes half as long as a whole statement.
        driver: Any = connection.connection.driver_connection
        driver.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
