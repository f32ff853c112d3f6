"""Where a model's files are on this machine: shipped, in a folder of the user's, or in the store.

The store is BentoML's model store (under ``BENTOML_HOME``), with one model per catalog name and
precision: ``sd-1.5-fp16:<first 12 digits of the commit>``. ``bentoml models list`` shows them too.

BentoML and the hub client are imported where they are used: they take seconds, and a model that
ships with the code needs neither.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from models.catalog import (
    BentoSource,
    DirectorySource,
    EmbeddedSource,
    FileSource,
    HuggingFaceSource,
    ModelEntry,
    Variant,
)
from models.errors import LoadError, ModelNotDownloaded, VariantUnavailable

Precision: TypeAlias = Literal["fp32", "fp16", "bf16"]


def variant_for(entry: ModelEntry, precision: str) -> Variant:
    """The stored variant that serves a precision. bf16 is made of the fp32 files.

    Raises:
        VariantUnavailable: the model has no such variant, or the precision is unknown.
    """
    wanted = "fp32" if precision == "bf16" else precision
    for variant in entry.variants:
        if variant == wanted:
            return variant
    raise VariantUnavailable(
        f"{entry.name} has no {wanted} variant; it has {', '.join(entry.variants)}."
    )


def store_name(entry: ModelEntry, variant: Variant) -> str:
    """The name, without a version, of a pulled model in the BentoML store."""
    return f"{entry.name}-{variant}"


def resolve(entry: ModelEntry, precision: str) -> Path:
    """The folder or the ``.safetensors`` file to give to ``models.loading.load_pipeline``.

    Args:
        precision: fp32, fp16 or bf16.

    Raises:
        ModelNotDownloaded: names the command that brings the model here.
        VariantUnavailable: the model does not exist in this precision.
        LoadError: a local source of the catalog does not exist.
    """
    variant = variant_for(entry, precision)
    match entry.source:
        case EmbeddedSource(path=path) | DirectorySource(path=path):
            if not path.is_dir():
                raise LoadError(f"{entry.name}: the folder {path} does not exist.")
            return path
        case FileSource(path=path):
            if not path.is_file():
                raise LoadError(f"{entry.name}: the file {path} does not exist.")
            return path
        case BentoSource(tag=tag):
            folder = _stored(tag)
            if folder is None:
                raise ModelNotDownloaded(
                    f"{entry.name}: the BentoML model store has no model '{tag}'; "
                    "`bentoml models list` shows what it has."
                )
            return folder
        case HuggingFaceSource():
            folder = _stored(store_name(entry, variant))
            if folder is None:
                raise ModelNotDownloaded(
                    f"{entry.name} is not downloaded in {variant}; run: "
                    f"python -m models pull {entry.name} --precision {variant}"
                )
            return folder


def _stored(tag: str) -> Path | None:
    import bentoml

    try:
        return Path(bentoml.models.get(tag).path)
    except bentoml.exceptions.NotFound:
        return None
