"""The sizes of pictures: how large one may be with each model, as measured at the start."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from assembly.first_picture import first_request
from contract.errors import RequestError
from engine.limits import BatchLimits
from engine.pace import NATIVE_MARGIN, largest_area, pass_seconds
from engine.pipelines.base import DiffusionModel
from engine.weights.cache import WeightCache
from models.catalog import ModelEntry
from models.placement import Placement
from settings import Settings

# Bounds that the tries of one size may take together: a slow device need not be asked twice.
PATIENCE = 4

logger = logging.getLogger(__name__)


def largest_pictures(
    settings: Settings,
    entries: Sequence[ModelEntry],
    placement: Placement,
    cache: WeightCache[DiffusionModel],
    limits: BatchLimits,
) -> Mapping[str, int]:
    """Pixels of the largest picture by the name of a model; nothing where ``SD_MAX_PIXELS`` is
    set.

    A model that is not in memory counts like the slowest one of its family that is; if there is
    none, it makes pictures of its own size.

    Raises:
        RuntimeError: a model cannot be run.
    """
    if settings.max_pixels is not None:
        return {}
    largest: dict[str, int] = {}
    families: dict[str, int] = {}
    for entry in entries:
        if not cache.available(entry.name):
            continue
        try:
            area = _largest(settings, entry, placement, cache.use(entry.name), limits)
        except Exception as error:
            raise RuntimeError(f"{entry.name} failed to make a first pass: {error}") from error
        largest[entry.name] = area
        families[entry.family] = min(area, families.get(entry.family, area))
    for entry in entries:
        own = round(entry.defaults.width * entry.defaults.height * NATIVE_MARGIN)
        area = largest.setdefault(entry.name, max(own, families.get(entry.family, own)))
        logger.info(
            "%s makes pictures of up to %d pixels, as a pass may take %g s (SD_MAX_PASS_SECONDS)%s",
            entry.name,
            area,
            settings.max_pass_seconds,
            ", and always its own size" if area <= own else "",
        )
    return largest


def _largest(
    settings: Settings,
    entry: ModelEntry,
    placement: Placement,
    model: DiffusionModel,
    limits: BatchLimits,
) -> int:
    bound = settings.max_pass_seconds

    def measure(width: int, height: int) -> float:
        # With guidance, whatever the default: that is what a client may ask for.
        request = replace(first_request(entry, width, height), guidance_scale=2.0)
        rows = limits.of(entry.name).padded(2, width * height)
        try:
            return pass_seconds(model, request, rows, placement.device, patience=PATIENCE * bound)
        except RequestError as error:
            # The positions of some models end at a side.
            if error.field not in ("width", "height"):
                raise
            return math.inf

    native = (entry.defaults.width, entry.defaults.height)
    return largest_area(measure, native, bound, settings.most_pixels)
