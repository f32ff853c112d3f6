"""The served models and LoRAs as the API presents them."""

from __future__ import annotations

import logging

from api.backend import ServedLora, ServedModel
from models.catalog import ModelEntry
from models.errors import ModelError, UnknownModel
from models.finetuned import FineTuned
from models.lora import lora_bytes
from models.placement import Placement
from models.registry import finetuned, get
from models.sources import BentoSource
from settings import Settings

logger = logging.getLogger(__name__)


def served_model(entry: ModelEntry, placement: Placement, settings: Settings) -> ServedModel:
    """Describe a model to clients, with what their requests fall back on."""
    tuned = _fine_tuned(entry)
    return ServedModel(
        name=entry.name,
        family=entry.family,
        precision=placement.precision,
        quantized=entry.quantized_parts,
        description=entry.description,
        licence=entry.licence,
        tasks=entry.tasks,
        multiple_of=entry.architecture.multiple_of,
        defaults=entry.defaults,
        provenance=None if tuned is None else tuned.provenance,
        size=None if tuned is None else tuned.size,
        screening=settings.screening(entry),
        schedulers=entry.architecture.schedulers,
        fields=entry.architecture.fields(entry.tasks),
        refiner=entry.refiner,
        is_refiner=entry.is_refiner,
        max_pixels=settings.most_pixels,
    )


def served_loras(placement: Placement) -> tuple[ServedLora, ...]:
    """The LoRAs that are in the model store at this moment."""
    return tuple(
        lora
        for model in finetuned()
        if model.kind == "lora" and (lora := _served_lora(model, placement)) is not None
    )


def _served_lora(model: FineTuned, placement: Placement) -> ServedLora | None:
    try:
        memory = lora_bytes(model.path, placement.precision)
    except ModelError as error:
        # Removed just now, or damaged by something else: the others are served.
        logger.warning("%s is left out: %s", model.tag, error)
        return None
    return ServedLora(
        name=model.name,
        tag=model.tag,
        size=model.size,
        memory=memory,
        provenance=model.provenance,
    )


def _fine_tuned(entry: ModelEntry) -> FineTuned | None:
    if not isinstance(entry.source, BentoSource):
        return None
    try:
        return get(entry.source.tag)
    except UnknownModel:
        return None
