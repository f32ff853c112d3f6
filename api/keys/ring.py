"""The key ring: the keys of all sources as they are now."""

from __future__ import annotations

import asyncio
import logging
from collections import ChainMap
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Final

from api.keys.document import UnusableKeys
from api.keys.in_store import StoreKeys
from api.keys.key import Key, id_of, matches
from api.keys.source import FileKeys, KeySource, TextKeys
from settings import Settings

logger = logging.getLogger(__name__)

# A change takes effect within this time.
LOOK_SECONDS: Final = 1.0


class Keyring:
    """Finds the keys that clients send.

    A source that cannot be read any more keeps the keys that it had; the log says so.

    Args:
        sources: where the keys are; of two with one id the first counts.

    Raises:
        UnusableKeys: a source cannot be read at the start.
    """

    def __init__(self, sources: Sequence[KeySource]) -> None:
        self._sources = tuple(sources)
        self._found: list[dict[str, Key]] = [source.read() or {} for source in self._sources]
        self._faults: list[str] = [""] * len(self._sources)
        self._looked = monotonic()
        self._looking = asyncio.Lock()

    async def find(self, text: str) -> Key | None:
        """The key that a text is; None for none."""
        if monotonic() - self._looked > LOOK_SECONDS:
            async with self._looking:
                # Others may have waited for the same look.
                if monotonic() - self._looked > LOOK_SECONDS:
                    await asyncio.to_thread(self._look)
                    self._looked = monotonic()
        identity = id_of(text)
        key = None if identity is None else self.keys.get(identity)
        return key if matches(text, key) else None

    @property
    def keys(self) -> Mapping[str, Key]:
        """All of them, by their ids."""
        return ChainMap(*self._found)

    def _look(self) -> None:
        for index, source in enumerate(self._sources):
            fault = ""
            try:
                keys = source.read()
            except UnusableKeys as error:
                fault = str(error)
                if fault != self._faults[index]:
                    logger.error("the API keys stay as they were: %s", fault)
            else:
                if keys is not None:
                    self._found[index] = keys
                    logger.info("there are %d API keys now", len(self.keys))
            self._faults[index] = fault


def keyring(settings: Settings) -> Keyring | None:
    """The keys that the settings name; None where clients need none.

    Raises:
        UnusableKeys: says in a sentence what is wrong.
    """
    if settings.build_only or not settings.has_keys:
        return None
    sources: list[KeySource] = []
    if settings.api_keys is not None:
        sources.append(TextKeys(settings.api_keys.get_secret_value(), "SD_API_KEYS"))
    if settings.api_keys_file is not None:
        sources.append(FileKeys(settings.api_keys_file, "SD_API_KEYS_FILE"))
    if settings.api_keys_in_store:
        sources.append(StoreKeys(settings))
    return Keyring(sources)
