"""The LoRAs of the model store, for the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import methodcaller

from assembly.snapshot import Snapshot
from engine.lora.adapter import Adapter
from engine.weights.source import Source
from models import registry
from models.errors import ModelError
from models.lora import lora_bytes


class StoredLoras(Mapping[str, Source[Adapter]]):
    """The registered LoRAs by their tags, each version with its own, as of the last ``refresh``.

    Looking one up touches no disk.

    Args:
        precision: fp32, fp16 or bf16: in which they are kept in memory.
    """

    def __init__(self, precision: str) -> None:
        self._precision = precision
        self._sources = Snapshot(self._look)

    async def refresh(self) -> None:
        """Look at the store, in a thread."""
        await self._sources.refresh()

    def __getitem__(self, tag: str) -> Source[Adapter]:
        return self._sources.value[tag]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources.value)

    def __len__(self) -> int:
        return len(self._sources.value)

    def _look(self) -> dict[str, Source[Adapter]]:
        sources = {}
        for model in registry.finetuned_versions():
            if model.kind != "lora":
                continue
            try:
                memory = lora_bytes(model.path, self._precision)
            except ModelError:
                continue  # removed just now, or damaged: it is not offered to clients either
            # Called with the model that it is for.
            sources[model.tag] = Source(methodcaller("load_adapter", model.path), memory)
        return sources
