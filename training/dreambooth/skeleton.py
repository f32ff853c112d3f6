"""A base without weights: its networks as their configs describe them, for what they would take."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch

from models.catalog import BUILT_IN, ModelEntry
from models.dtypes import DTYPES
from models.errors import ModelError
from models.footprint import exact_layers
from models.sources import FileSource
from models.store import resolve
from training.dreambooth.errors import TrainingError

# Of models that may not be downloaded.
CONFIGS: Final = BUILT_IN.parent / "configs"


def config_folder(entry: ModelEntry, precision: str) -> Path:
    """A pipeline folder that has at least the configs of a base's networks.

    Raises:
        TrainingError: there is none on this machine.
    """
    if isinstance(entry.source, FileSource):
        return entry.source.config
    try:
        return resolve(entry, precision)
    except ModelError as error:
        known = CONFIGS / entry.name
        if known.is_dir():
            return known
        raise TrainingError(
            f"--plan: the configs of {entry.name} are not known here, and {error}"
        ) from error


def in_precision(module: Any, precision: str) -> Any:
    """A network on the device ``meta``, converted as ``models.loading`` does it."""
    torch.nn.Module.to(module, dtype=DTYPES[precision])
    exact = exact_layers(type(module).__name__, precision)
    for path, weights in module.named_parameters():
        if not exact.isdisjoint(path.split(".")):
            weights.data = weights.data.float()
    return module


def memory(module: torch.nn.Module) -> int:
    """Bytes of its parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
