"""From a catalog entry to a loaded family."""

from __future__ import annotations

import torch

from engine.families import check_served
from engine.families.base import Family
from engine.families.stable_diffusion import StableDiffusion
from engine.precision import Placement
from models.catalog import ModelEntry
from models.loading import load_pipeline
from models.store import resolve

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def load_family(entry: ModelEntry, placement: Placement) -> Family:
    """Load a model in the given precision onto the given device.

    Raises:
        models.errors.ModelError: not downloaded, not loadable safely, or of an architecture
            that the engine does not know yet.
    """
    check_served(entry)
    pipeline = load_pipeline(
        entry,
        location=resolve(entry, placement.precision),
        dtype=DTYPES[placement.precision],
        device=placement.device,
    )
    return StableDiffusion(pipeline)
