"""The footprint of a model: what its weights take in memory, by the headers of its files alone."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from models.quantization import Scheme, is_linear, linear_bytes
from models.weights import (
    EXACT_LAYERS,
    components,
    folder_variant,
    read_header,
    read_index,
    upcast_components,
    weight_files,
)

NOTHING: Final[Mapping[str, Scheme]] = MappingProxyType({})
# How tensors of a single file begin, in the original layouts, and the component that they are of.
_COMPONENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "first_stage_model.": "vae",
        "model.diffusion_model.": "unet",
        "cond_stage_model.": "text_encoder",
        "conditioner.embedders.0.": "text_encoder",
        "conditioner.embedders.1.": "text_encoder_2",
    }
)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a model takes in memory.

    Attributes:
        own: bytes of what no other model has.
        shared: bytes of what others may have too, by its identity (``models.identity``): it is in
            memory once.
    """

    own: int
    shared: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Bytes that it takes where it is alone."""
        return self.own + sum(self.shared.values())


def together(footprints: Iterable[Footprint]) -> int:
    """Bytes of several of them in one memory."""
    own, shared = 0, dict[str, int]()
    for each in footprints:
        own += each.own
        shared.update(each.shared)
    return own + sum(shared.values())


def weight_bytes(
    location: Path,
    precision: str,
    config: Path | None = None,
    skipped: Collection[str] = (),
) -> int:
    """Bytes that weights take in memory; see ``component_bytes``."""
    return sum(component_bytes(location, precision, config, skipped).values())


def component_bytes(
    location: Path,
    precision: str,
    config: Path | None = None,
    skipped: Collection[str] = (),
    quantized: Mapping[str, Scheme] = NOTHING,
) -> dict[str, int]:
    """Bytes that each component's weights take in memory, tables that are saved with them included.

    Args:
        location: a pipeline folder, or one checkpoint file; of the parts of a file that no
            component is known for, the name is ``weights``.
        precision: fp32, fp16 or bf16, whatever the files are stored in.
        config: of a checkpoint file: the pipeline folder with its configs.
        skipped: components of a pipeline folder that are not loaded.
        quantized: components whose linear layers are quantised.

    Raises:
        LoadError: a file is missing or broken.
        UnsafeWeights: a component comes from a foreign library.
    """
    item = 4 if precision == "fp32" else 2
    sizes: dict[str, int] = {}
    if not location.is_dir():
        upcast = frozenset() if config is None else upcast_components(config)
        for name, tensor in _tensors(location):
            component = next(
                (found for start, found in _COMPONENTS.items() if name.startswith(start)), "weights"
            )
            width = 4 if component in upcast else item
            size = tensor_bytes(name, tensor, width, quantized.get(component))
            sizes[component] = sizes.get(component, 0) + size
        return sizes
    index = read_index(location)
    names = [name for name in components(index) if name not in skipped]
    variant = folder_variant(location, names, half=precision == "fp16")
    upcast = upcast_components(location)
    for component in names:
        exact = exact_layers(index[component][1], precision)
        for file in weight_files(location / component, variant):
            for name, tensor in _tensors(file):
                wide = component in upcast or not exact.isdisjoint(name.split("."))
                size = tensor_bytes(name, tensor, 4 if wide else item, quantized.get(component))
                sizes[component] = sizes.get(component, 0) + size
    return sizes


def exact_layers(class_name: str, precision: str) -> frozenset[str]:
    """Names of layers of a component's class that stay in fp32 in this precision."""
    return EXACT_LAYERS.get(class_name, frozenset()) if precision == "fp16" else frozenset()


def _tensors(file: Path) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Name and header of each tensor that is loaded."""
    for name, tensor in read_header(file).items():
        # Training's moving averages, a second copy in some single files, are never loaded.
        if name != "__metadata__" and not name.startswith("model_ema."):
            yield name, tensor


def tensor_bytes(name: str, tensor: Mapping[str, Any], width: int, scheme: Scheme | None) -> int:
    """Bytes of a tensor, given its header, with ``width`` bytes for each real number."""
    begin, end = tensor["data_offsets"]
    # Rounding of indices and the like would be wrong, and is never done.
    if not str(tensor["dtype"]).startswith(("F", "BF")):
        return int(end - begin)
    if scheme is not None and is_linear(name, tensor["shape"]):
        return linear_bytes(scheme, *tensor["shape"])
    return int(math.prod(tensor["shape"])) * width
