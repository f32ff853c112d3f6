"""The opening: predictions are there when they are first asked for, or when some were left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from typing import Final

from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from api.predictions.database import Database
from api.predictions.errors import StoreUnusable
from api.predictions.predictions import Predictions
from contract.errors import ErrorCode, RequestError

logger = logging.getLogger(__name__)

_PAUSE: Final = 5.0


class Opening:
    """Makes and opens predictions.

    Args:
        make: makes them; raises ``StoreUnusable``.
        at_start: whether they are opened at the start, as somebody may wait for what was left.
    """

    def __init__(self, make: Callable[[], Predictions], at_start: bool) -> None:
        self._make = make
        self._at_start = at_start
        self._opened: Predictions | None = None
        self._opening: asyncio.Task[Predictions] | None = None
        self._trying: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Begin to open them, if there may be something left to do."""
        if self._at_start:
            self._trying = asyncio.create_task(self._try())

    async def get(self) -> Predictions:
        """The predictions, opened. Raises ``RequestError``: NOT_READY."""
        if self._opened is not None:
            return self._opened
        if self._opening is None or self._opening.done():
            # What begins here outlives the request that asks for it, and has nothing of it.
            self._opening = asyncio.create_task(self._open(), context=Context())
        return await asyncio.shield(self._opening)

    def stop_waiting(self) -> None:
        """See ``Predictions.stop_waiting``."""
        self._closed = True
        if self._opened is not None:
            self._opened.stop_waiting()

    async def database(self) -> Database:
        """Their database. Raises ``RequestError``: NOT_READY."""
        return (await self.get()).database

    async def finish(self, seconds: float) -> None:
        """See ``Predictions.finish``; what was not opened yet, will not be."""
        if self._trying is not None:
            self._trying.cancel()
            await asyncio.gather(self._trying, return_exceptions=True)
        if self._opening is not None:
            await asyncio.wait((self._opening,))
        if self._opened is not None:
            await self._opened.finish(seconds)

    async def close(self) -> None:
        """See ``Predictions.close``."""
        if self._opened is not None:
            await self._opened.close()

    async def _open(self) -> Predictions:
        if self._closed:
            raise RequestError(ErrorCode.NOT_READY, "the service is shutting down")
        try:
            predictions = self._make()
        except StoreUnusable as error:
            logger.warning("no predictions: %s", error)
            raise RequestError(
                ErrorCode.NOT_READY,
                "there are no predictions here, as there is no folder for them that can be "
                "written to: SD_STORE names one",
                retry_after=60,
            ) from error
        try:
            await predictions.open()
        except (RequestError, SQLAlchemyError, CommandError, OSError, TimeoutError) as error:
            logger.warning("the store of predictions cannot be opened: %s", error)
            await predictions.close()
            raise RequestError(
                ErrorCode.NOT_READY,
                "the store of predictions cannot be reached",
                retry_after=_PAUSE,
            ) from error
        self._opened = predictions
        return predictions

    async def _try(self) -> None:
        while True:
            try:
                await self.get()
            except RequestError:
                await asyncio.sleep(_PAUSE)
            else:
                return
