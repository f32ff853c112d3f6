"""The database: SQLite in a folder, or PostgreSQL; its transactions, and what it announces."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import URL, ColumnElement, Connection, Float, Table, func, literal, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from api.predictions import migrations
from api.predictions.batches import Batches
from api.predictions.connections import (
    Connections,
    Operation,
    PostgreSQLConnections,
    SQLiteConnections,
)
from api.predictions.refusals import storage_full
from contract.errors import ErrorCode, RequestError
from settings.store import StoreSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")

FILE: Final = "predictions.sqlite"
CHANNEL: Final = "sd_predictions"
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
        url: ``sqlite:///file`` or ``postgresql+asyncpg://...``.
    """

    def __init__(self, url: URL | str) -> None:
        made = make_url(url)
        self.on_one_host = made.get_backend_name() == "sqlite"
        self._connections: Connections = (
            SQLiteConnections(made) if self.on_one_host else PostgreSQLConnections(made)
        )
        self._group: Batches[Operation[Any], Any] = Batches(self._commit)

    @classmethod
    def in_folder(cls, folder: Path) -> Database:
        """SQLite's, in a folder that exists."""
        return cls(URL.create("sqlite", database=str(folder / FILE)))

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

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Raises what SQLAlchemy and the driver do."""
        await self._connections.run(migrations.upgrade, writes=True)

    async def close(self) -> None:
        """Wait for what is being written, and disconnect."""
        await self._group.idle()
        await self._connections.close()

    async def read(self, operation: Operation[T]) -> T:
        """Run an operation that changes nothing.

        Raises:
            RequestError: NOT_READY where the database cannot be reached.
        """
        return await _patiently(lambda: self._connections.run(operation, writes=False))

    async def write(self, operation: Operation[T]) -> T:
        """Run an operation in a transaction; when this returns, it is on the disk.

        The operation may be run again from its start, where the first run was rolled back, or
        where it is not known whether it was committed. It may run in another thread.

        Raises:
            RequestError: NOT_READY where the database cannot be reached, STORAGE_FULL.
        """

        async def attempt() -> T:
            if self.on_one_host:
                result: T = await self._group.add(operation)
                return result
            return await self._connections.run(operation, writes=True)

        return await _patiently(attempt)

    async def _commit(self, operations: Sequence[Operation[Any]]) -> list[Any]:
        return await self._connections.run(
            lambda connection: [operation(connection) for operation in operations], writes=True
        )

    def announce(self, connection: Connection, message: str) -> None:
        """Tell the other hosts, when the transaction is committed. On SQLite nobody is told."""
        if not self.on_one_host:
            connection.execute(
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
