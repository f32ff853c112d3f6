"""The retention: what is deleted, and when. Nothing of a prediction that is not over."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, delete, select, update

from api.predictions.database import Database
from api.predictions.execution import input_key
from api.predictions.files import Files
from api.predictions.prediction import UNFINISHED, Prediction
from api.predictions.statements import COLUMNS, found
from api.predictions.store import Store
from api.predictions.tables import PREDICTIONS
from contract.errors import RequestError
from settings.store import StoreSettings

logger = logging.getLogger(__name__)

_PAUSE: Final = 30.0
_AT_ONCE: Final = 200
# A file that is of no prediction was written by a process that then died; or it is just written.
_ORPHAN_SECONDS: Final = 3600.0


class Retention:
    """Deletes pictures that are old or too many, then their predictions, and files of no one.

    Args:
        database: with the tables.
        store: knows how much there is.
        files: the pictures.
        settings: the times and limits.
    """

    def __init__(
        self, database: Database, store: Store, files: Files, settings: StoreSettings
    ) -> None:
        self._database = database
        self._store = store
        self._files = files
        self._settings = settings
        self._swept = time.monotonic()

    async def run(self) -> None:
        """Go on for ever."""
        # Where times are short, it looks as often.
        pause = min(_PAUSE, self._settings.picture_seconds)
        while True:
            await asyncio.sleep(pause)
            try:
                await self.apply()
                if time.monotonic() - self._swept > _ORPHAN_SECONDS:
                    await self.sweep(_ORPHAN_SECONDS)
                    self._swept = time.monotonic()
            except (RequestError, OSError) as error:
                logger.warning("the retention of predictions: %s", error)
            except Exception:
                logger.exception("the retention of predictions goes on")

    async def apply(self) -> None:
        """Delete what is to be deleted now."""
        now, table = self._database.now(), PREDICTIONS.c
        await self._remove(table.completed_at < now - self._settings.picture_seconds)
        while (usage := await self._store.usage()).bytes > self._settings.store_bytes:
            if not await self._remove_oldest(usage.bytes - int(self._settings.store_bytes)):
                break
        await self._forget(table.completed_at < now - self._settings.prediction_seconds)

    async def remove(self, predictions: Sequence[Prediction]) -> None:
        """Delete the files of predictions that are over; that they are gone, is written then."""
        await self._files.delete(
            [
                *(one.key for prediction in predictions for one in prediction.outputs),
                *(input_key(one.folder) for one in predictions if one.input_bytes),
            ]
        )
        numbers = [one.number for one in predictions]
        change = (
            update(PREDICTIONS)
            .where(PREDICTIONS.c.number.in_(numbers))
            .values(removed_at=self._database.now(), input_bytes=0, output_bytes=0)
        )

        def removed(connection: Connection) -> None:
            connection.execute(change)

        await self._database.write(removed)

    async def sweep(self, age: float) -> int:
        """Delete files older than ``age`` seconds that no prediction has; returns how many."""
        old = [one.key async for one in self._files.all() if one.modified < time.time() - age]
        orphans = []
        for start in range(0, len(old), _AT_ONCE):
            keys = old[start : start + _AT_ONCE]
            known = await self._known({key.partition("/")[0] for key in keys})
            orphans += [key for key in keys if not _belongs(key, known)]
        await self._files.delete(orphans)
        return len(orphans)

    async def _known(self, folders: set[str]) -> dict[str, Prediction]:
        query = select(*COLUMNS).where(PREDICTIONS.c.folder.in_(folders))
        return {one.folder: one for one in await found(self._database, query)}

    async def _remove(self, condition: ColumnElement[bool]) -> None:
        query = self._finished().where(condition)
        while predictions := await found(self._database, query.limit(_AT_ONCE)):
            await self.remove(predictions)

    async def _remove_oldest(self, size: int) -> bool:
        """Remove the oldest until ``size`` bytes are free; False where there is nothing left."""
        oldest = await found(self._database, self._finished().limit(_AT_ONCE))
        chosen = []
        for one in oldest:
            if size <= 0:
                break
            chosen.append(one)
            size -= one.input_bytes + sum(output.bytes for output in one.outputs)
        if chosen:
            await self.remove(chosen)
        return bool(chosen)

    async def _forget(self, condition: ColumnElement[bool]) -> None:
        query = delete(PREDICTIONS).where(
            condition,
            PREDICTIONS.c.status.not_in(UNFINISHED),
            PREDICTIONS.c.removed_at.is_not(None),
        )

        def forgotten(connection: Connection) -> None:
            connection.execute(query)

        await self._database.write(forgotten)

    def _finished(self) -> Select[Any]:
        """Those that are over and have their files, the oldest first."""
        table = PREDICTIONS.c
        return (
            select(*COLUMNS)
            .where(table.status.not_in(UNFINISHED), table.removed_at.is_(None))
            .order_by(table.completed_at)
        )


def _belongs(key: str, known: dict[str, Prediction]) -> bool:
    prediction = known.get(key.partition("/")[0])
    if prediction is None:
        return False
    if key == input_key(prediction.folder):
        return True
    if prediction.status.is_over:
        return key in {one.key for one in prediction.outputs}
    return prediction.lease is not None and f"/{prediction.lease}-" in key
