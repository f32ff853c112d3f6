"""The model that a run starts from."""

from __future__ import annotations

import torch
from diffusers import StableDiffusionPipeline

from engine.pipelines.load import DTYPES
from models.catalog import ModelEntry, load_catalog
from models.loading import load_pipeline
from models.placement import obstacle
from models.store import resolve
from training.dreambooth.errors import TrainingError
from training.dreambooth.options import MixedPrecision, Options

FAMILIES = ("sd1", "sd2")
_PRECISIONS: dict[MixedPrecision, str] = {"no": "fp32", "fp16": "fp16", "bf16": "bf16"}


def find_base(options: Options) -> ModelEntry:
    """The catalog entry of the base.

    Raises:
        ModelError: there is none.
        TrainingError: it is of another family, or cannot draw from a text alone.
    """
    entry = load_catalog(options.catalog).get(options.base)
    if entry.family not in FAMILIES:
        raise TrainingError(
            f"{entry.name} is of the family {entry.family}; only {', '.join(FAMILIES)} can be "
            "tuned yet."
        )
    if "txt2img" not in entry.tasks:
        raise TrainingError(
            f"{entry.name} only does {', '.join(entry.tasks)}: take a model that does txt2img."
        )
    return entry


def find_device(options: Options) -> str:
    """``cpu`` or ``cuda``. Raises ``TrainingError`` if it cannot do the mixed precision."""
    precision = _PRECISIONS[options.mixed_precision]
    device = options.device
    if device == "auto":
        device = "cpu" if obstacle("cuda", "fp32") else "cuda"
    reason = obstacle(device, precision)
    if reason is None and device == "cuda" and precision == "bf16" and not _cuda_has_bf16():
        reason = "needs a GPU of compute capability 8.0 or more"
    if reason is not None:
        asked = (
            "--device=cuda, but"
            if device == "cuda" and precision != "bf16"
            else f"--mixed-precision={options.mixed_precision}"
        )
        raise TrainingError(f"{asked} {reason}.")
    return device


def _cuda_has_bf16() -> bool:
    # Untyped in torch.
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def side_of(entry: ModelEntry, options: Options) -> int:
    """Side of the training pictures in pixels: what was asked for, or the base's own size."""
    return options.resolution or min(entry.defaults.width, entry.defaults.height)


def weights_precision(options: Options) -> str:
    """What the base is loaded in: fp32 if its own weights are to change."""
    return "fp32" if options.full else _PRECISIONS[options.mixed_precision]


def load_base(entry: ModelEntry, options: Options, device: torch.device) -> StableDiffusionPipeline:
    """The frozen pipeline of the base. Raises ``ModelError`` if it is not here or broken."""
    precision = weights_precision(options)
    return load_pipeline(
        entry,
        location=resolve(entry, precision),
        dtype=DTYPES[precision],
        device=device,
    )
