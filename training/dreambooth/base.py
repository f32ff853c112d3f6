"""The model that a run starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

from models.catalog import ModelEntry, load_catalog
from models.dtypes import DTYPES
from models.loading import load_pipeline
from models.placement import obstacle
from models.store import resolve
from models.weights import text_channels
from training.dreambooth.errors import TrainingError
from training.dreambooth.families import FAMILIES, TunedFamily
from training.dreambooth.options import MixedPrecision, Options

_PRECISIONS: dict[MixedPrecision, str] = {"no": "fp32", "fp16": "fp16", "bf16": "bf16"}


def find_base(options: Options) -> ModelEntry:
    """The catalog entry of the base, with the text encoders that are wanted.

    Raises:
        ModelError: there is none, or it cannot do without another text encoder.
        TrainingError: it cannot draw from a text alone, or not be tuned like that.
    """
    entry = load_catalog(options.catalog).get(options.base)
    if "txt2img" not in entry.tasks:
        raise TrainingError(
            f"{entry.name} only does {', '.join(entry.tasks)}: take a model that does txt2img."
        )
    if FAMILIES[entry.family].denoiser in entry.quantized:
        raise TrainingError(
            f"--base: {entry.name} has its denoiser quantised (`quantize` in its entry), which "
            "cannot be trained: take an entry without that."
        )
    if options.text_encoders is not None and not entry.architecture.text_encoders:
        raise TrainingError(
            f"--text-encoders: {entry.name} is of the family {entry.family}, which has no choice."
        )
    entry = entry.with_text_encoders(options.text_encoders)
    if options.snr_gamma is not None and entry.architecture.prediction == "flow":
        raise TrainingError(
            f"--snr-gamma: {entry.name} is of the family {entry.family}, which predicts a flow: "
            "there are no such weights for it."
        )
    layers = FAMILIES[entry.family].targets
    if not options.full and (lacking := [one for one in options.targets if not layers[one]]):
        raise TrainingError(
            f"--targets: {entry.name} is of the family {entry.family}, whose denoiser has no "
            f"layers of {lacking[0]}; it has {', '.join(name for name in layers if layers[name])}."
        )
    if (side := side_of(entry, options)) % (multiple := entry.architecture.multiple_of):
        raise TrainingError(
            f"--resolution: must be a multiple of {multiple} for {entry.name}, is {side}."
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


def text_encoders_of(entry: ModelEntry) -> tuple[str, ...]:
    """The components of a base's text encoders that are used."""
    family = FAMILIES[entry.family]
    t5 = () if family.t5 in (None, *entry.skipped_components) else (family.t5,)
    return (*family.clip, *t5)


def channels_of(entry: ModelEntry, folder: Path) -> int:
    """Of the text that a base's denoiser takes, by the configs in a pipeline folder."""
    channels = text_channels(folder)
    if channels is None:
        raise TrainingError(f"{entry.name}: the config of its denoiser names no text.")
    return channels


@dataclass(frozen=True, slots=True)
class Base:
    """The base of a run, of which only those components are in memory that are in use.

    Attributes:
        precision: of its weights: fp32, fp16 or bf16.
        device: where they are when they are loaded.
    """

    entry: ModelEntry
    precision: str
    device: torch.device

    @property
    def family(self) -> TunedFamily:
        """What is known of its family."""
        return FAMILIES[self.entry.family]

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return DTYPES[self.precision]

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """The components of its text encoders."""
        return text_encoders_of(self.entry)

    @property
    def text_channels(self) -> int:
        """Of the text that its denoiser takes."""
        return channels_of(self.entry, self.entry.config_folder(self._location))

    def load(self, *components: str) -> DiffusionPipeline:
        """The frozen pipeline with these of its networks alone; the others are None.

        Raises:
            ModelError: it is not here or broken.
        """
        return load_pipeline(
            self.entry,
            location=self._location,
            dtype=self.dtype,
            device=self.device,
            skipped=self.family.modules.difference(components),
        )

    @property
    def _location(self) -> Path:
        return resolve(self.entry, self.precision)
