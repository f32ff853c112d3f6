"""A catalog entry as the API presents it."""

from __future__ import annotations

from api.backend import ServedModel
from engine.precision import Placement
from models.catalog import Family, ModelEntry

# The VAE's downscaling factor times the denoiser's patch size.
_MULTIPLES: dict[Family, int] = {"sd1": 8, "sd2": 8, "sdxl": 8, "sd3": 16}


def served_model(entry: ModelEntry, placement: Placement) -> ServedModel:
    """Describe a model to clients, with what their requests fall back on."""
    return ServedModel(
        name=entry.name,
        family=entry.family,
        precision=placement.precision,
        description=entry.description,
        licence=entry.licence,
        tasks=entry.tasks,
        multiple_of=_MULTIPLES[entry.family],
        defaults=entry.defaults,
    )
