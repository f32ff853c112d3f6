"""The part of a backend that all hosts share: models of the start, and LoRAs of the store."""

from __future__ import annotations

from collections.abc import Sequence

from api.backend import ServedLora, ServedModel
from assembly.snapshot import Snapshot


class StoreBackend:
    """Models and LoRAs for ``api.backend.Backend``; a host adds ``ready`` and ``generate``.

    Args:
        models: those that are served since the start.
        loras: those of the store.
    """

    def __init__(
        self, models: Sequence[ServedModel], loras: Snapshot[Sequence[ServedLora]]
    ) -> None:
        self._models = tuple(models)
        self._loras = loras

    @property
    def models(self) -> Sequence[ServedModel]:
        return self._models

    @property
    def loras(self) -> Sequence[ServedLora]:
        return self._loras.value

    async def refresh(self) -> None:
        await self._loras.refresh()
