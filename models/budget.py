"""The memory budget: what models take, and whether they could ever fit into it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from models.catalog import FileSource, ModelEntry
from models.errors import NotEnoughMemory
from models.store import readable, resolve
from models.weights import weight_bytes


def model_bytes(entry: ModelEntry, precision: str) -> int:
    """Bytes that a model's weights take in memory in a precision.

    Raises:
        ModelError: it is not on this machine, or broken.
    """
    config = entry.source.config if isinstance(entry.source, FileSource) else None
    return weight_bytes(
        resolve(entry, precision), precision, config, skipped=entry.skipped_components
    )


def check_budget(sizes: Mapping[str, int], pinned: Collection[str], budget: int) -> None:
    """Refuse a budget that some model could never fit into, beside the pinned ones.

    Args:
        sizes: bytes of each model's weights, by its catalog name.
        pinned: those that never leave the memory.
        budget: bytes that all models in memory may take together.

    Raises:
        NotEnoughMemory: names the model, what it takes and the budget.
    """
    beside = sum(size for name, size in sizes.items() if name in pinned)
    if beside > budget:
        raise NotEnoughMemory(
            f"the pinned models take {readable(beside)} together, and the budget of all models "
            f"is {readable(budget)}"
        )
    for name, size in sizes.items():
        if name not in pinned and size + beside > budget:
            raise NotEnoughMemory(
                f"{name} takes {readable(size)}"
                + (f", with the pinned models {readable(size + beside)}" if beside else "")
                + f", and the budget of all models is {readable(budget)}"
            )
