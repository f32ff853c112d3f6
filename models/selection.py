"""The selection of the files of a repository that a pipeline needs in a given precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from models.catalog import Variant
from models.errors import DownloadError, UnsafeWeights, VariantUnavailable
from models.hub import HubFile, Snapshot
from models.weights import PICKLED, components, variant_of

INDEX = "model_index.json"
_TEXT = frozenset({".json", ".txt"})


def select(snapshot: Snapshot, index: Mapping[str, Any], variant: Variant) -> tuple[HubFile, ...]:
    """The files to fetch: per component its configs, and its weights in ``variant``.

    A component whose weights exist in one precision only (in repositories that have fp16 copies
    of the others) is taken in that one for fp16; fp32 is never made of fp16 copies.

    Args:
        index: the parsed ``model_index.json`` of the snapshot.

    Raises:
        VariantUnavailable: the repository has no weights in this variant.
        UnsafeWeights: a component has pickled weights only.
        DownloadError: the repository lacks a component that its index names.
    """
    chosen = [file for file in snapshot.files if file.path == INDEX]
    found: set[Variant] = set()
    for name in components(index):
        files = [file for file in snapshot.files if PurePosixPath(file.path).parent.name == name]
        files = [file for file in files if file.path.count("/") == 1]
        if not files:
            raise DownloadError(f"{snapshot.repo} has no files for its component '{name}'.")
        weights = _weights(snapshot, name, files, variant)
        found |= {kind for file in weights if (kind := _kind(file)) is not None}
        chosen += weights + [file for file in files if _is_text(file)]
    if variant not in found:
        raise VariantUnavailable(
            f"{snapshot.repo} at {snapshot.commit[:12]} has no {variant} weights in the "
            f"safetensors format; it has {' and '.join(sorted(found)) or 'none'}."
        )
    return tuple(chosen)


def _weights(
    snapshot: Snapshot, name: str, files: Sequence[HubFile], variant: Variant
) -> list[HubFile]:
    """The component's weights with their shard index; empty for tokenizers and schedulers."""
    for kind in (variant, "fp32"):
        weights = [file for file in files if _kind(file) == kind]
        if weights:
            return weights
    if any(_kind(file) == "fp16" for file in files):
        raise VariantUnavailable(
            f"{snapshot.repo} has {name} in fp16 only; pull it with --precision fp16."
        )
    for file in files:
        if PurePosixPath(file.path).suffix in PICKLED:
            raise UnsafeWeights(
                f"{snapshot.repo} has '{name}' only as a pickled checkpoint ({file.path}), which "
                "is refused because loading one can run any code."
            )
    return []


def _kind(file: HubFile) -> Variant | None:
    return variant_of(PurePosixPath(file.path).name)


def _is_text(file: HubFile) -> bool:
    """Configs and vocabularies. Shard indexes go with the weights that they describe."""
    path = PurePosixPath(file.path)
    return path.suffix in _TEXT and ".index." not in path.name
