"""The memory budget: what models take, and whether they could ever fit into it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from models.catalog import ModelEntry
from models.errors import NotEnoughMemory
from models.footprint import Footprint, component_bytes, together
from models.identity import NO_IDENTITIES, Identities, is_text_encoder
from models.placement import Placement
from models.sources import FileSource
from models.store import readable, resolve


def model_bytes(entry: ModelEntry, precision: str, *, stored: str | None = None) -> dict[str, int]:
    """Bytes that the weights of each of a model's components take in memory in a precision.

    Args:
        stored: the precision whose files are looked at; default: the same.

    Raises:
        ModelError: it is not on this machine, or broken.
    """
    config = entry.source.config if isinstance(entry.source, FileSource) else None
    return component_bytes(
        resolve(entry, stored or precision),
        precision,
        config,
        skipped=entry.skipped_components,
        quantized=entry.quantized,
    )


def model_footprint(
    entry: ModelEntry, placement: Placement, identities: Identities = NO_IDENTITIES
) -> Footprint:
    """What a model takes in the memory of the device that it runs on.

    Args:
        identities: of the text encoders that are in memory once, whoever else has them.

    Raises:
        ModelError: it is not on this machine, or broken.
    """
    own, shared = 0, {}
    for component, size in model_bytes(entry, placement.precision).items():
        if is_text_encoder(component) and placement.text_device != placement.device:
            continue
        identity = identities.get((entry.name, component))
        if identity is None:
            own += size
        else:
            shared[identity] = size
    return Footprint(own, shared)


def check_budget(sizes: Mapping[str, Footprint], pinned: Collection[str], budget: int) -> None:
    """Refuse a budget that some model could never fit into, beside the pinned ones.

    Args:
        sizes: what each model takes, by its catalog name.
        pinned: those that never leave the memory.
        budget: bytes that all models in memory may take together.

    Raises:
        NotEnoughMemory: names the model, what it takes and the budget.
    """
    stay = [size for name, size in sizes.items() if name in pinned]
    beside = together(stay)
    if beside > budget:
        raise NotEnoughMemory(
            f"the pinned models take {readable(beside)} together, and the budget of all models "
            f"is {readable(budget)}"
        )
    for name, size in sizes.items():
        if name not in pinned and together([*stay, size]) > budget:
            raise NotEnoughMemory(
                f"{name} takes {readable(size.total)}"
                + (f", with the pinned models {readable(together([*stay, size]))}" if stay else "")
                + f", and the budget of all models is {readable(budget)}"
            )
