"""The identity of text encoders: equal for those with the same weights, whichever model they came
with.

CLIP-L is the same in Stable Diffusion 1 and in SDXL, CLIP-G in SDXL and its refiner, T5 in all of
Stable Diffusion 3.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from models.catalog import ModelEntry
from models.store import resolve
from models.weights import (
    components,
    folder_variant,
    read_header,
    read_index,
    read_json,
    weight_files,
)

# By the name of a model and of its component.
Identities: TypeAlias = Mapping[tuple[str, str], str]

NO_IDENTITIES: Final[Identities] = MappingProxyType({})

# What configs say about where a model came from, and how it was saved.
_PROVENANCE = ("_name_or_path", "architectures", "transformers_version", "torch_dtype", "dtype")
_PIECE = 1 << 20  # bytes that are hashed at a time


class _Tensor(NamedTuple):
    """A tensor in a file: of transformers 5 and of older versions it has the same name."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int
    end: int


class _Encoder(NamedTuple):
    model: str
    component: str
    signature: Hashable
    tensors: tuple[_Tensor, ...]


def identify(entries: Iterable[ModelEntry], precision: str) -> Identities:
    """The text encoders that several of the models have, each with an identity.

    Only those that are alike in their configs and their tensors' shapes are read and hashed: a
    model that is alone costs nothing.

    Args:
        entries: the models in one memory.
        precision: that they are loaded in.

    Raises:
        ModelError: a model is not on this machine, or broken.
    """
    alike: dict[Hashable, list[_Encoder]] = {}
    for entry in entries:
        for encoder in _encoders(entry, precision):
            alike.setdefault(encoder.signature, []).append(encoder)
    digests: dict[str, list[_Encoder]] = {}
    for group in alike.values():
        for encoder in group if len(group) > 1 else ():
            # Equal weights with different configs would be different encoders.
            digest = hashlib.sha256(repr(encoder.signature).encode())
            digest.update(_digest(encoder.tensors).encode())
            digests.setdefault(digest.hexdigest(), []).append(encoder)
    return {
        (encoder.model, encoder.component): digest
        for digest, group in digests.items()
        if len(group) > 1
        for encoder in group
    }


def is_text_encoder(component: str) -> bool:
    """Whether a component of a pipeline is a text encoder, by its name."""
    return component.startswith("text_encoder")


def _encoders(entry: ModelEntry, precision: str) -> Iterable[_Encoder]:
    location = resolve(entry, precision)
    if not location.is_dir():
        return  # a single file has it among other weights
    index = read_index(location)
    names = [name for name in components(index) if name not in entry.skipped_components]
    variant = folder_variant(location, names, half=precision == "fp16")
    for name in names:
        if not is_text_encoder(name):
            continue
        tensors = tuple(
            sorted(
                tensor
                for file in weight_files(location / name, variant)
                for tensor in _tensors(file)
            )
        )
        shapes = tuple((each.name, each.dtype, each.shape) for each in tensors)
        config = _config(location / name / "config.json")
        signature = (index[name][1], config, entry.quantized.get(name), shapes)
        yield _Encoder(entry.name, name, signature, tensors)


def _config(file: Path) -> str:
    settings = {key: value for key, value in read_json(file).items() if key not in _PROVENANCE}
    return json.dumps(settings, sort_keys=True)


def _tensors(file: Path) -> Iterable[_Tensor]:
    for name, tensor in read_header(file).items():
        # A count from 0 on, which older versions saved.
        if name == "__metadata__" or name.endswith("position_ids"):
            continue
        begin, end = tensor["data_offsets"]
        plain = name.removeprefix("text_model.")
        yield _Tensor(plain, tensor["dtype"], tuple(tensor["shape"]), file, begin, end)


@lru_cache(maxsize=64)
def _digest(tensors: tuple[_Tensor, ...]) -> str:
    """SHA-256 of the tensors' bytes, in the order of their names."""
    digest = hashlib.sha256()
    for tensor in tensors:
        with tensor.file.open("rb") as stream:
            start = 8 + int.from_bytes(stream.read(8), "little")
            stream.seek(start + tensor.begin)
            left = tensor.end - tensor.begin
            while piece := stream.read(min(left, _PIECE)):
                digest.update(piece)
                left -= len(piece)
    return digest.hexdigest()
