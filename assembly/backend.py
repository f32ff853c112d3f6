"""The part of a backend that all hosts share: models of the start, and LoRAs of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from api.backend import ServedLora, ServedModel
from assembly.snapshot import Snapshot


class StoreBackend:
    """Models and LoRAs for ``api.backend.Backend``; a host adds ``ready``, ``learn`` and
    ``generate``.

    Args:
        models: those that are served since the start.
        loras: those of the store.
    """

    def __init__(
        self, models: Sequence[ServedModel], loras: Snapshot[Sequence[ServedLora]]
    ) -> None:
        self._started_with = self._models = tuple(models)
        self._loras = loras

    @property
    def models(self) -> Sequence[ServedModel]:
        return self._models

    @property
    def loras(self) -> Sequence[ServedLora]:
        return self._loras.value

    def _limit(self, max_pixels: Mapping[str, int]) -> None:
        """Take over how large pictures may be, by the name of a model."""
        self._models = tuple(
            replace(
                model,
                max_pixels=min(model.max_pixels, max_pixels.get(model.name, model.max_pixels)),
            )
            for model in self._started_with
        )

    async def refresh(self) -> None:
        await self._loras.refresh()
