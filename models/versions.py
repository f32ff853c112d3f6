"""The versions of the fine-tuned models in the store, and the description that each has there."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict

from models.finetuned import FineTuned, Kind, Provenance
from models.store import DESCRIPTION, store_folder

logger = logging.getLogger(__name__)

_MARK: Final = "fine_tuned"


class _Marked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Kind
    provenance: Provenance


class _Metadata(BaseModel):
    fine_tuned: _Marked


class _Description(BaseModel):
    creation_time: AwareDatetime
    metadata: _Metadata


def version_folders(folder: str | Path) -> list[str]:
    """The folders in a folder of the store; none where it does not exist."""
    # Not pathlib, which takes ten times as long, and this is part of every request.
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a fine-tuned model, and when it was registered."""

    model: FineTuned
    registered: datetime


def metadata(kind: Kind, provenance: Provenance) -> Mapping[str, Any]:
    """What the store is to keep with a version: ``read_version`` reads it."""
    mark = _Marked(kind=kind, provenance=provenance)
    return {_MARK: mark.model_dump(mode="json", exclude_none=True)}


def registered() -> Iterator[list[Version]]:
    """The versions of each fine-tuned model, by its name."""
    for folder in version_folders(store_folder()):
        versions = [
            one for path in version_folders(folder) if (one := read_version(path)) is not None
        ]
        if versions:
            yield versions


def read_version(folder: str) -> Version | None:
    """What a version's folder holds; None if that is not a fine-tuned model, or no longer."""
    file = f"{folder}/{DESCRIPTION}"
    try:
        status = Path(file).stat()
        return _parse(file, status.st_ino, status.st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _parse(name: str, inode: int, modified: int) -> Version | None:
    """Read a description, once for each time it is written (which both numbers tell)."""
    file = Path(name)
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        if _MARK not in document["metadata"]:
            return None
        description = _Description.model_validate(document)
        size = sum(path.stat().st_size for path in file.parent.rglob("*.safetensors"))
    except (ValueError, LookupError, TypeError, yaml.YAMLError) as error:
        logger.warning("%s is left out, as its description is broken: %s", file.parent, error)
        return None
    name, version = file.parts[-3:-1]
    marked = description.metadata.fine_tuned
    model = FineTuned(
        name=name,
        kind=marked.kind,
        tag=f"{name}:{version}",
        path=file.parent,
        size=size,
        provenance=marked.provenance,
    )
    return Version(model, description.creation_time)
