"""The database: SQLite in a folder, or PostgreSQL; its transactions, and what it announces."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import URL, ColumnElement, Connection, Float, Table, event, func, literal, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from api.predictions import migrations
from api.predictions.batches import Batches
from api.predictions.refusals import storage_full
from contract.errors import ErrorCode, RequestError
from settings.store import StoreSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")
Operation = Callable[[AsyncConnection], Awaitable[T]]

FILE: Final = "predictions.sqlite"
CHANNEL: Final = "sd_predictions"
_CONNECTIONS: Final = 8
# How long a request waits for a database that restarts.
_PATIENCE: Final = 5.0
_PAUSE: Final = 0.2
_RETRY_AFTER: Final = 5.0
# Of PostgreSQL: no more disk; and what says that the server comes or goes, or that another
# transaction was in the way.
_FULL: Final = "53100"
_PASSING: Final = ("08", "57P", "40", "53")


class Database:
    """Runs operations in transactions; those that write on SQLite share theirs (``Batches``).

    Args:
        url: ``sqlite+aiosqlite:///file`` or ``postgresql+asyncpg://...``.
    """

    def __init__(self, url: URL | str) -> None:
        self._url = make_url(url)
        self.on_one_host = self._url.get_backend_name() == "sqlite"
        self._engine = _sqlite(self._url) if self.on_one_host else _postgresql(self._url)
        self._writing = self._engine.execution_options(writes=True)
        self._group: Batches[Operation[Any], Any] = Batches(self._commit)

    @classmethod
    def in_folder(cls, folder: Path) -> Database:
        """SQLite's, in a folder that exists."""
        return cls(URL.create("sqlite+aiosqlite", database=str(folder / FILE)))

    @classmethod
    def of(cls, settings: StoreSettings) -> Database:
        """The one that the settings name; its folder is made where it is not there.

        Raises:
            ArgumentError: ``store`` is no URL of a database, and no folder.
            OSError: the folder cannot be made.
        """
        folder = settings.store_folder
        if folder is None:
            return cls(settings.store)
        folder.mkdir(parents=True, exist_ok=True)
        return cls.in_folder(folder)

    @property
    def engine(self) -> AsyncEngine:
        """For what needs a connection of its own."""
        return self._engine

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Raises what SQLAlchemy and the driver do."""

        def upgraded(connection: Connection) -> None:
            migrations.upgrade(connection)

        async with self._writing.begin() as connection:
            await connection.run_sync(upgraded)

    async def close(self) -> None:
        """Wait for what is being written, and disconnect."""
        await self._group.idle()
        await self._engine.dispose()

    async def read(self, operation: Operation[T]) -> T:
        """Run an operation that changes nothing.

        Raises:
            RequestError: NOT_READY where the database cannot be reached.
        """

        async def attempt() -> T:
            async with self._engine.begin() as connection:
                return await operation(connection)

        return await _patiently(attempt)

    async def write(self, operation: Operation[T]) -> T:
        """Run an operation in a transaction; when this returns, it is on the disk.

        The operation may be run again from its start, where the first run was rolled back, or
        where it is not known whether it was committed.

        Raises:
            RequestError: NOT_READY where the database cannot be reached, STORAGE_FULL.
        """

        async def attempt() -> T:
            if self.on_one_host:
                result: T = await self._group.add(operation)
                return result
            async with self._writing.begin() as connection:
                return await operation(connection)

        return await _patiently(attempt)

    async def _commit(self, operations: Sequence[Operation[Any]]) -> list[Any]:
        async with self._writing.begin() as connection:
            return [await operation(connection) for operation in operations]

    async def announce(self, connection: AsyncConnection, message: str) -> None:
        """Tell the other hosts, when the transaction is committed. On SQLite nobody is told."""
        if not self.on_one_host:
            await connection.execute(
                text("SELECT pg_notify(:channel, :message)"),
                {"channel": CHANNEL, "message": message},
            )

    def insert(self, table: Table) -> Any:
        """An INSERT that may have ON CONFLICT: the same in both databases, and of types that have
        nothing in common."""
        return (sqlite if self.on_one_host else postgresql).insert(table)

    def now(self) -> ColumnElement[float]:
        """The time on which all hosts agree: the server's, or that of the one host."""
        if self.on_one_host:
            return literal(time.time(), Float)
        return func.extract("epoch", func.clock_timestamp()).cast(Float(53))


def _sqlite(url: URL) -> AsyncEngine:
    engine = create_async_engine(url, pool_size=_CONNECTIONS, max_overflow=0)

    @event.listens_for(engine.sync_engine, "connect")
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

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL) -> AsyncEngine:
    return create_async_engine(url, pool_size=_CONNECTIONS, max_overflow=0, pool_pre_ping=True)


async def _patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Try until the database is there again, for as long as a client may wait."""
    give_up = time.monotonic() + _PATIENCE
    while True:
        try:
            return await attempt()
        except (DBAPIError, OSError, TimeoutError) as error:
            if _is_full(error):
                raise storage_full("the disk of the store is full") from error
            if not _passes(error):
                raise
            if time.monotonic() > give_up:
                logger.error("the store of predictions cannot be reached: %s", error)
                raise RequestError(
                    ErrorCode.NOT_READY,
                    "the store of predictions cannot be reached",
                    retry_after=_RETRY_AFTER,
                ) from error
        await asyncio.sleep(_PAUSE)


def _state(error: Exception) -> str:
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")


def _is_full(error: Exception) -> bool:
    return _state(error) == _FULL or "disk is full" in str(getattr(error, "orig", ""))


def _passes(error: Exception) -> bool:
    """Whether the same may succeed a moment later."""
    if not isinstance(error, DBAPIError):
        return True
    return (
        error.connection_invalidated
        or _state(error).startswith(_PASSING)
        or "database is locked" in str(error.orig)
        or "connection" in str(error.orig).lower()
    )
