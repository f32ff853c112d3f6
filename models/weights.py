"""Weights files: their names, and whether one may be opened.

Only the safetensors format is ever opened: every other checkpoint format is, or may be, a pickle,
and unpickling a file runs whatever code it carries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from models.architectures import ARCHITECTURES
from models.catalog import Variant
from models.errors import LoadError, UnsafeWeights

# The checker wants 1.2 GB to look at a picture after the fact, and the other two only serve it or
# image prompts: pipelines run without them, so they are neither downloaded nor loaded.
SKIPPED_COMPONENTS = frozenset({"safety_checker", "feature_extractor", "image_encoder"})
LIBRARIES = frozenset({"diffusers", "transformers"})
# Layers that overflow in fp16, by the class of the component: with them, transformers keeps T5's
# feed-forward outputs in fp32 (``_keep_in_fp32_modules``).
EXACT_LAYERS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"T5EncoderModel": frozenset({"wo"})}
)
PICKLED = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"})

# model.safetensors, model.fp16.safetensors, and the same in shards. Other infixes (non_ema) are
# other weights, which no precision asks for.
_NAME = re.compile(r"^\w+?(?P<fp16>\.fp16)?(-\d{5}-of-\d{5})?\.safetensors$")
_INDEX = re.compile(r"^\w+?\.safetensors\.index(?P<fp16>\.fp16)?\.json$")


def variant_of(filename: str) -> Variant | None:
    """The variant that a weights file, or a shard index, belongs to; None for any other file."""
    match = _NAME.match(filename) or _INDEX.match(filename)
    if match is None:
        return None
    return "fp16" if match["fp16"] else "fp32"


def read_index(folder: Path) -> dict[str, Any]:
    """The parsed ``model_index.json`` of a pipeline folder.

    Raises:
        LoadError: there is none, or it is not a JSON object.
    """
    if not (folder / "model_index.json").is_file():
        raise LoadError(f"{folder} is not a diffusers pipeline folder: it has no model_index.json.")
    return read_json(folder / "model_index.json")


def text_channels(folder: Path) -> int | None:
    """The channels of the text that a pipeline's denoiser takes; None if its config does not say.

    Raises:
        LoadError: the config cannot be read.
    """
    for name, key in (("unet", "cross_attention_dim"), ("transformer", "joint_attention_dim")):
        channels = read_config(folder, name).get(key)
        if isinstance(channels, int):
            return channels
    return None


def read_config(folder: Path, component: str) -> dict[str, Any]:
    """The configuration of a component of a pipeline folder; empty where it has none.

    Raises:
        LoadError: it cannot be read.
    """
    config = folder / component / "config.json"
    return read_json(config) if config.is_file() else {}


def has_weights(folder: Path, component: str) -> bool:
    """Whether a pipeline folder has the weights of a component, in any variant."""
    return any(variant_of(path.name) for path in (folder / component).glob("*.safetensors"))


def read_json(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"{file} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise LoadError(f"{file} is not a JSON object.")
    return document


def components(index: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the components that a pipeline loads, each a subfolder of its folder.

    Raises:
        UnsafeWeights: a component comes from a library other than diffusers and transformers,
            which would mean importing code that the model brings or names.
    """
    names = []
    for name, value in index.items():
        if name.startswith("_") or name in SKIPPED_COMPONENTS:
            continue
        if not isinstance(value, list) or len(value) != 2 or value == [None, None]:
            continue
        if not name.isidentifier():
            raise UnsafeWeights(f"model_index.json has a component '{name}', which is no name.")
        if value[0] not in LIBRARIES:
            raise UnsafeWeights(
                f"model_index.json takes '{name}' from '{value[0]}'; "
                f"only {' and '.join(sorted(LIBRARIES))} are allowed."
            )
        names.append(name)
    return tuple(names)


def folder_variant(folder: Path, names: Collection[str], *, half: bool) -> Variant:
    """The variant of a pipeline folder's weights that is loaded: the fp16 files if those are
    wanted, or if a component has nothing else."""
    kinds: list[set[Variant | None]] = [
        {variant_of(path.name) for path in (folder / name).glob("*.safetensors")} for name in names
    ]
    has_fp16 = any("fp16" in found for found in kinds)
    only_fp16 = any("fp16" in found and "fp32" not in found for found in kinds)
    return "fp16" if only_fp16 or (has_fp16 and half) else "fp32"


def upcast_components(folder: Path) -> frozenset[str]:
    """The components of a pipeline folder that stay in fp32 in every precision.

    Raises:
        LoadError: a config cannot be read.
    """
    found = read_index(folder).get("_class_name")
    upcasts = any(each.upcasts_vae for each in ARCHITECTURES.values() if found in each.pipelines)
    config = folder / "vae" / "config.json"
    # What the config leaves out is diffusers' default.
    if upcasts and config.is_file() and read_json(config).get("force_upcast", True):
        return frozenset({"vae"})
    return frozenset()


def weight_files(folder: Path, variant: Variant) -> list[Path]:
    """A component's weights, shards included: in the variant, or else in the one there is."""
    files = sorted(folder.glob("*.safetensors"))
    wanted = [file for file in files if variant_of(file.name) == variant]
    return wanted or [file for file in files if variant_of(file.name) is not None]


def read_header(file: Path) -> dict[str, Any]:
    """The header of a safetensors file: dtype, shape and place of every tensor.

    The format: https://huggingface.co/docs/safetensors/index#format.

    Raises:
        LoadError: there is no such file.
        UnsafeWeights: it is in another format.
    """
    check_file(file)
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header: dict[str, Any] = json.loads(stream.read(length))
    except OSError as error:
        # Models of the store may go at any moment.
        raise LoadError(f"{file} cannot be read: {error}") from error
    return header


def check_file(file: Path) -> None:
    """Raise unless ``file`` is a safetensors file, by its name and by its header."""
    if not file.is_file():
        raise LoadError(f"{file} does not exist.")
    if file.suffix != ".safetensors":
        raise UnsafeWeights(
            f"{file} is not a .safetensors file; pickled checkpoints are refused because loading "
            "one can run any code."
        )
    try:
        with safe_open(file, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise UnsafeWeights(
            f"{file} is not in the safetensors format, whatever its name says: {error}"
        ) from error


def check_folder(folder: Path, names: Collection[str]) -> None:
    """Raise if a component has pickled weights and nothing else, or a false safetensors file."""
    for name in names:
        files = sorted(path for path in (folder / name).glob("*") if path.is_file())
        safe = [path for path in files if path.suffix == ".safetensors"]
        for path in safe:
            check_file(path)
        pickled = [path for path in files if path.suffix in PICKLED]
        if pickled and not safe:
            raise UnsafeWeights(
                f"{pickled[0]} is a pickled checkpoint, and there is no .safetensors file beside "
                "it; pickled checkpoints are refused because loading one can run any code."
            )
