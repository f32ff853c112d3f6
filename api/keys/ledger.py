"""The ledger: what keys have had each day, in the store of predictions, for all that share it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from sqlalchemy import Connection, delete, select

from api.keys.usage import Usage, Used, today
from api.predictions.database import Database
from api.predictions.tables import USAGE
from contract.errors import RequestError

logger = logging.getLogger(__name__)

# A process that is killed has counted so much in vain, and others do not know of it yet.
_PAUSE: Final = 0.5
_UNREACHABLE_SECONDS: Final = 10.0
_DAYS: Final = 31


class Ledger:
    """Writes down what was counted in this process, and learns what was in others. No request
    waits for it.

    Args:
        usage: of this process.
        database: the store's, once it is open. Raises ``RequestError`` where there is none now.
    """

    def __init__(self, usage: Usage, database: Callable[[], Awaitable[Database]]) -> None:
        self._usage = usage
        self._database = database
        self._cleaned: int | None = None
        self._reached = True
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Go on from what is written down, and keep it up to date in the running event loop."""
        pause = await self._try()
        self._task = asyncio.create_task(self._run(pause))

    async def close(self) -> None:
        """Write the rest down."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._try()

    async def exchange(self) -> None:
        """Write down what was counted here, and read what was everywhere. Raises
        ``RequestError``."""
        database, day = await self._database(), today()
        owed = self._usage.take_owed()

        def exchanged(connection: Connection) -> dict[str, Used]:
            _write(database, connection, owed)
            if owed and self._cleaned != day:
                connection.execute(delete(USAGE).where(USAGE.c.day < day - _DAYS))
            rows = connection.execute(select(USAGE).where(USAGE.c.day == day))
            return {row.key: Used(row.requests, row.pictures, row.pixel_steps) for row in rows}

        try:
            totals = await (database.write if owed else database.read)(exchanged)
        except BaseException:
            self._usage.put_back(owed)
            raise
        self._cleaned = day if owed else self._cleaned
        self._usage.settle(day, totals)

    async def _try(self) -> float:
        """Returns the seconds until the next try."""
        try:
            await self.exchange()
        except RequestError as error:
            if self._reached:
                logger.warning("what API keys have is counted in memory for now: %s", error)
            self._reached = False
            return error.retry_after or _UNREACHABLE_SECONDS
        self._reached = True
        return _PAUSE

    async def _run(self, pause: float) -> None:
        while True:
            await asyncio.sleep(pause)
            try:
                pause = await self._try()
            except Exception:
                logger.exception("the ledger of the API keys goes on")
                pause = _UNREACHABLE_SECONDS


def _write(
    database: Database, connection: Connection, owed: Mapping[tuple[int, str], Used]
) -> None:
    if not owed:
        return
    new = database.insert(USAGE)
    columns = ("requests", "pictures", "pixel_steps")
    added = new.on_conflict_do_update(
        index_elements=["day", "key"],
        set_={name: USAGE.c[name] + new.excluded[name] for name in columns},
    )
    # In one order everywhere, so that two do not wait for each other.
    rows = [
        {"day": day, "key": key, **{name: getattr(used, name) for name in columns}}
        for (day, key), used in sorted(owed.items(), key=lambda one: one[0])
    ]
    connection.execute(added, rows)
