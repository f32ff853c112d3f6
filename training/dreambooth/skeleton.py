"""A base without weights: its networks as their configs describe them, for what they would take."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch

from models.catalog import BUILT_IN, ModelEntry
from models.errors import ModelError
from models.sources import FileSource
from models.store import resolve
from models.weights import EXACT_LAYERS, components, read_index
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


def build(folder: Path, name: str, dtype: torch.dtype) -> Any:
    """A network of a pipeline folder on the device ``meta``, in the precision that it is used in.

    Raises:
        ModelError: the folder is none of a pipeline, or names foreign code.
    """
    index = read_index(folder)
    if name not in components(index):
        raise TrainingError(f"--plan: {folder.name} has no {name}.")
    library, class_name = index[name]
    kind: Any = getattr(import_module(library), class_name)
    with torch.device("meta"):
        if library == "diffusers":
            module = kind.from_config(kind.load_config(folder / name))
        else:
            module = kind(kind.config_class.from_pretrained(folder / name))
    exact = EXACT_LAYERS.get(class_name, frozenset()) if dtype == torch.float16 else frozenset()
    torch.nn.Module.to(module, dtype=dtype)
    for path, weights in module.named_parameters():
        if not exact.isdisjoint(path.split(".")):
            weights.data = weights.data.float()
    return module.eval().requires_grad_(False)


def memory(module: torch.nn.Module) -> int:
    """Bytes of its parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
