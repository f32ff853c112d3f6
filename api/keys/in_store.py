"""The keys in the store of predictions: one document, for all hosts that share it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

from alembic.util import CommandError
from sqlalchemy import Connection, select, update
from sqlalchemy.exc import SQLAlchemyError

from api.keys.document import UnusableKeys, dump, parse
from api.keys.key import Key
from api.predictions.database import Database
from api.predictions.tables import DOCUMENTS
from contract.errors import RequestError
from settings.store import StoreSettings

T = TypeVar("T")

_NAME: Final = "api-keys"
_TEXT: Final = select(DOCUMENTS.c.text).where(DOCUMENTS.c.name == _NAME)
# How long a request waits for a look at the store; it goes on with the keys that are known.
_PATIENCE: Final = 0.5
_LOOK_SECONDS: Final = 10.0


class StoreKeys:
    """Implements ``api.keys.source.KeySource``.

    Args:
        settings: say where the store is.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        # There may be an event loop in the caller's thread.
        self._thread = ThreadPoolExecutor(1, "keys")
        self._looking: Future[str] | None = None
        self._seen: str | None = None

    def read(self) -> dict[str, Key] | None:
        first, patience = self._seen is None, 0.0
        if self._looking is None:
            self._looking = self._thread.submit(read_text, self._settings, first)
            patience = _PATIENCE
        looking = self._looking
        if not first and not wait([looking], patience).done:
            return None
        self._looking = None
        text = looking.result()
        if text == self._seen:
            return None
        keys = _parse(text)
        self._seen = text
        return keys


def read(settings: StoreSettings) -> dict[str, Key]:
    """The keys of a store, by their ids. Raises ``UnusableKeys``. Blocking."""
    return _parse(read_text(settings))


def read_text(settings: StoreSettings, upgrade: bool = True) -> str:
    """Their document; empty where there is none yet. Likewise.

    Args:
        upgrade: whether the schema may be missing or old.
    """

    def found(connection: Connection) -> str:
        return connection.scalar(_TEXT) or ""

    return _done(settings, lambda database: database.read(found), upgrade)


def change(settings: StoreSettings, changed: Callable[[dict[str, Key]], dict[str, Key]]) -> None:
    """Replace the keys of a store by what ``changed`` makes of them. Blocking.

    Raises:
        UnusableKeys: they cannot be read or written, or whatever ``changed`` raises.
    """

    def replaced(connection: Connection, database: Database) -> None:
        first = database.insert(DOCUMENTS).values(name=_NAME, text="")
        connection.execute(first.on_conflict_do_nothing())
        # One at a time; SQLite has no such thing, nor the need.
        text = connection.scalar(_TEXT.with_for_update()) or ""
        keys = changed(_parse(text))
        connection.execute(
            update(DOCUMENTS).where(DOCUMENTS.c.name == _NAME).values(text=dump(keys.values()))
        )

    def written(database: Database) -> Awaitable[None]:
        return database.write(lambda connection: replaced(connection, database))

    _done(settings, written)


def _parse(text: str) -> dict[str, Key]:
    try:
        return parse(text)
    except UnusableKeys as error:
        raise UnusableKeys(f"the API keys in the store: {error}") from None


def _done(
    settings: StoreSettings, operation: Callable[[Database], Awaitable[T]], upgrade: bool = True
) -> T:
    """What an operation on the store returns: on a connection and in an event loop of its own."""

    async def done() -> T:
        database = Database.of(settings)
        try:
            if upgrade:
                await database.open()
            return await operation(database)
        finally:
            await database.close()

    try:
        return asyncio.run(asyncio.wait_for(done(), _LOOK_SECONDS))
    except (RequestError, SQLAlchemyError, CommandError, OSError, TimeoutError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UnusableKeys(f"the API keys in the store cannot be had: {reason}") from None
