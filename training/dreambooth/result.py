"""The result of a run, registered in the model store."""

from __future__ import annotations

from models.catalog import load_catalog
from models.finetuned import FineTuned, Provenance
from models.registry import content_hash, register, revision_of
from training.dreambooth.base import find_base, weights_precision
from training.dreambooth.options import Options
from training.dreambooth.run import RunFolder


def register_result(options: Options) -> FineTuned:
    """Move what a finished run has made into the model store, with where it comes from.

    Raises:
        ModelError: the name is taken.
    """
    entry = find_base(options)
    provenance = Provenance(
        base=entry.name,
        base_revision=revision_of(entry, weights_precision(options)),
        subject_token=options.token,
        class_name=options.class_name,
        steps=options.steps,
        data_hash=content_hash(options.images),
        licence=options.licence or entry.licence,
        description=options.description
        or f"DreamBooth: '{options.token}' is a certain {options.class_name}.",
    )
    return register(
        options.output,
        "full" if options.full else "lora",
        RunFolder(options.work).result,
        provenance,
        load_catalog(options.catalog),
    )
