"""The result of a run: its files, and their place in the model store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from models.catalog import load_catalog
from models.finetuned import FineTuned, Provenance
from models.registry import content_hash, register, revision_of
from training.dreambooth.base import Base, find_base, weights_precision
from training.dreambooth.network import Denoiser, save_lora
from training.dreambooth.options import Options
from training.dreambooth.run import RunFolder


def write_result(base: Base, denoiser: Denoiser, options: Options, folder: Path) -> None:
    """Write a LoRA file in diffusers' convention, or the whole pipeline in fp32."""
    if not options.full:
        save_lora(type(base.load()), denoiser, folder)
        return
    trained = denoiser.components()
    rest = base.family.modules.difference(trained)
    pipeline = replace(base, device=torch.device("cpu")).load(*rest)
    pipeline.register_modules(**trained)
    pipeline.to(dtype=torch.float32).save_pretrained(folder)


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
