"""The LoRAs of the model store, for the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import methodcaller

from engine.lora.adapter import Adapter
from engine.weights.cache import Source
from models import registry
from models.errors import ModelError
from models.lora import lora_bytes


class StoredLoras(Mapping[str, Source[Adapter]]):
    """All LoRAs that are registered at this moment, by their tags.

    Args:
        precision: fp32, fp16 or bf16: in which they are kept in memory.
    """

    def __init__(self, precision: str) -> None:
        self._precision = precision

    def __getitem__(self, tag: str) -> Source[Adapter]:
        try:
            model = registry.get(tag)
            if model.kind != "lora":
                raise KeyError(tag)
            memory = lora_bytes(model.path, self._precision)
        except ModelError:
            raise KeyError(tag) from None
        # Called with the model that it is for.
        return Source(methodcaller("load_adapter", model.path), memory)

    def __iter__(self) -> Iterator[str]:
        return (model.tag for model in registry.finetuned() if model.kind == "lora")

    def __len__(self) -> int:
        return sum(1 for _ in self)
