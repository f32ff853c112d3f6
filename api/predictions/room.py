"""The room: how many predictions there may be, and how much their files may take."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import Final

from api.predictions.files import Files
from api.predictions.measures import Measures
from api.predictions.refusals import storage_full
from api.predictions.store import Store
from contract.errors import ErrorCode, RequestError
from settings.store import StoreSettings

logger = logging.getLogger(__name__)

# What other hosts accept in this time is not counted yet.
_FRESH_SECONDS: Final = 2.0
# After an order so long, nobody need wait for a count.
_BUSY_SECONDS: Final = 60.0


class Room:
    """Counts what is there, anew every few seconds while there are orders.

    Args:
        store: has the predictions.
        files: has their files.
        settings: the limits.
        measures: are told.
    """

    def __init__(
        self, store: Store, files: Files, settings: StoreSettings, measures: Measures
    ) -> None:
        self._store = store
        self._files = files
        self._settings = settings
        self._measures = measures
        self._counted = self._asked = float("-inf")
        self._unfinished: Counter[str] = Counter()
        self._needed = 0
        # What is accepted while they are counted.
        self._meanwhile: Counter[str] = Counter()
        self._needed_meanwhile = 0
        self._taken = False
        self._free: int | None = None

    async def run(self) -> None:
        """Count what is there, for ever: the next one to ask is not to wait for it."""
        while True:
            await asyncio.sleep(_FRESH_SECONDS / 2)
            if time.monotonic() - self._asked > _BUSY_SECONDS:
                continue
            try:
                await self.count()
            except (RequestError, OSError) as error:
                logger.warning("the room for predictions: %s", error)
            except Exception:
                logger.exception("the room for predictions is counted later")

    async def check(self, tenant: str, size: int) -> None:
        """Look whether there is room for a prediction with ``size`` bytes of pictures.

        Raises:
            RequestError: BUSY where too many wait, STORAGE_FULL.
        """
        if self._is_old() or (self._taken and self._refusal(tenant, size) is not None):
            # Of those that were accepted since, some are over.
            await self.count()
        refusal = self._refusal(tenant, size)
        if refusal is not None:
            raise refusal

    async def check_space(self, size: int) -> None:
        """Look whether there is room for ``size`` bytes. Raises ``RequestError``: STORAGE_FULL."""
        if self._is_old():
            await self.count()
        refusal = self._full(size)
        if refusal is not None:
            raise refusal

    def taken(self, tenant: str, size: int) -> None:
        """Another one was accepted."""
        for counts in (self._unfinished, self._meanwhile):
            counts[tenant] += 1
        self._needed += size
        self._needed_meanwhile += size
        self._taken = True

    async def count(self) -> None:
        """Count what is there."""
        self._meanwhile, self._needed_meanwhile = Counter(), 0
        usage = await self._store.usage()
        self._unfinished = Counter(usage.unfinished) + self._meanwhile
        self._needed = usage.needed + self._needed_meanwhile
        self._taken = bool(self._meanwhile)
        self._free = await self._files.free()
        self._counted = time.monotonic()
        self._measures.stored(self._unfinished.total(), usage.bytes)

    def _is_old(self) -> bool:
        self._asked = time.monotonic()
        return self._asked - self._counted > _FRESH_SECONDS

    def _refusal(self, tenant: str, size: int) -> RequestError | None:
        settings = self._settings
        if self._unfinished.total() >= settings.max_predictions:
            return _busy(f"at most {settings.max_predictions} predictions may wait")
        most = settings.predictions_per_client
        if self._unfinished[tenant] >= most:
            return _busy(f"at most {most} predictions of one client may wait")
        return self._full(size)

    def _full(self, size: int) -> RequestError | None:
        settings = self._settings
        # The retention makes room, but of what is not finished it deletes nothing.
        if self._needed + size > settings.store_bytes:
            return storage_full(
                f"the pictures of unfinished predictions take all of the "
                f"{int(settings.store_bytes)} bytes that there are"
            )
        if self._free is not None and self._free - size < settings.store_free_bytes:
            return storage_full("the disk of the store is full")
        return None


def _busy(message: str) -> RequestError:
    return RequestError(ErrorCode.BUSY, message)
