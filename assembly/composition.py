"""The composition: what a host serves, made of the settings before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from api.backend import ServedLora, ServedModel
from assembly import startup
from assembly.served_models import served_loras, served_model
from assembly.snapshot import Snapshot
from models.catalog import ModelEntry
from models.errors import ModelError
from models.placement import Placement
from models.vit import ViT
from settings import Settings
from templating.wildcards import Wildcards


@dataclass(frozen=True, slots=True)
class Composition:
    """What was found to be servable.

    Attributes:
        settings: what it was composed from.
        entries: the served models in the catalog; the first is the default.
        placement: the device and the precision of the default, and of all that this process runs.
        models: the same models as the API presents them.
        loras: those of the store that can be applied to them.
        wildcards: those of prompt templates.
        vit: the image classifier; None where there is none.
    """

    settings: Settings
    entries: tuple[ModelEntry, ...]
    placement: Placement
    models: tuple[ServedModel, ...]
    loras: Snapshot[Sequence[ServedLora]]
    wildcards: Wildcards
    vit: ViT | None


def compose(settings: Settings, elsewhere: Mapping[str, Placement] | None = None) -> Composition:
    """Find what the settings name, and check all that can be checked without loading it.

    Args:
        settings: what to serve.
        elsewhere: where each model runs, by its name, if that is not for this machine to say: then
            it is not asked whether it could run them.

    Raises:
        What ``assembly.startup.explained`` turns into a sentence: a composition root calls this
        within it.
    """
    entries = tuple(
        entry.with_text_encoders(settings.text_encoders).with_quantization(settings.quantize)
        for entry in startup.served_entries(settings)
    )
    if elsewhere is None:
        placement = startup.placement(settings, entries)
        placements = dict.fromkeys((entry.name for entry in entries), placement)
    else:
        for entry in entries:
            if entry.name not in elsewhere:
                raise ModelError(
                    f"{entry.name} is in SD_MODEL_SOURCE={settings.model_source}, and where it "
                    "is to run is not known: this host serves models of the catalog and of a store"
                )
        placement, placements = elsewhere[entries[0].name], dict(elsewhere)
    return Composition(
        settings=settings,
        entries=entries,
        placement=placement,
        models=tuple(served_model(entry, placements[entry.name], settings) for entry in entries),
        loras=Snapshot(partial(served_loras, placement)),
        wildcards=startup.load_wildcards(settings),
        vit=startup.find_classifier(settings),
    )
