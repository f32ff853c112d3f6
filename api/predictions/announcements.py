"""Announcements: what other hosts tell by PostgreSQL's LISTEN and NOTIFY, so that nobody polls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import asyncpg
from sqlalchemy.engine import make_url

from api.predictions.database import CHANNEL

logger = logging.getLogger(__name__)

_ALIVE_SECONDS: Final = 10.0
_PAUSE: Final = 1.0


class Announcements:
    """Listens for as long as it runs; what is missed meanwhile, those who poll find.

    Args:
        url: of the database.
        heard: is called with each message.
    """

    def __init__(self, url: str, heard: Callable[[str], None]) -> None:
        # The driver's own name of the same.
        self._dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._heard = heard

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            try:
                await self._listen()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                logger.info("the announcements of other hosts: %s", error)
            await asyncio.sleep(_PAUSE)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=_ALIVE_SECONDS)
        try:
            await connection.add_listener(CHANNEL, self._received)
            while True:
                await asyncio.sleep(_ALIVE_SECONDS)
                await connection.execute("SELECT 1", timeout=_ALIVE_SECONDS)
        finally:
            connection.terminate()

    def _received(self, *message: Any) -> None:
        self._heard(message[-1])
