"""The check, before anything is loaded, that the models fit into the memory of their device."""

from __future__ import annotations

from collections.abc import Sequence

from models.budget import model_footprint
from models.catalog import ModelEntry
from models.device_memory import device_memory
from models.dry_run import decode_bytes, pass_bytes, weightless
from models.errors import NotEnoughMemory
from models.footprint import together
from models.identity import Identities
from models.placement import Placement
from models.remedies import remedies
from models.store import readable, resolve
from models.weights import upcast_components
from settings import Settings

ROWS = 2  # of the smallest pass: a picture with guidance
# Of the memory: where the weights leave more, a pass need not be looked at, which takes seconds.
AMPLE = 0.5


def check_fit(
    settings: Settings, entries: Sequence[ModelEntry], placement: Placement, identities: Identities
) -> None:
    """Refuse models whose weights, and a picture of their own size, are more than the device has.

    All of them have to fit together, unless ``SD_MODEL_MEMORY`` lets them take turns: then each
    beside the pinned ones.

    Raises:
        NotEnoughMemory: says what is missing, and which settings would make it fit.
    """
    memory = device_memory(placement.device)
    sizes = {each.name: model_footprint(each, placement, identities) for each in entries}
    pinned = [sizes[name] for name in settings.pinned_models]
    all_of_them = together(sizes.values())
    for entry in entries:
        alone = together([*pinned, sizes[entry.name]])
        weights = all_of_them if settings.model_memory is None else alone
        if weights <= AMPLE * memory:
            continue
        working = working_bytes(entry, placement, settings.vae_pixels)
        if weights + working <= memory:
            continue
        others = len(entries) > 1 and settings.model_memory is None
        sentence = (
            f"{', '.join(sizes) if others else entry.name} would take {readable(weights)} for "
            f"weights{' together' if others else ''}, and a picture of {entry.name} "
            f"{readable(working)}; the memory of {placement.device} is {readable(memory)}"
        )
        room = memory - working
        if others and alone <= room:
            raise NotEnoughMemory(
                f"{sentence}. With SD_MODEL_MEMORY={room // 10**6}MB they take turns."
            )
        room -= weights - sizes[entry.name].total
        raise NotEnoughMemory(f"{sentence}. {remedies(entry, placement, room)}")


def working_bytes(entry: ModelEntry, placement: Placement, vae_pixels: int) -> int:
    """Bytes that a picture of a model's own size takes beside the weights."""
    folder = entry.config_folder(resolve(entry, placement.precision))
    components = weightless(folder, entry.skipped_components)
    size = (entry.defaults.width, entry.defaults.height)
    taken = pass_bytes(components, placement.precision, size, ROWS)
    if size[0] * size[1] > vae_pixels:
        return taken  # it is decoded in tiles
    precision = "fp32" if "vae" in upcast_components(folder) else placement.precision
    return max(taken, decode_bytes(components, precision, size))
