"""A fine-tuned model, and what is known about it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from models.catalog import ModelName
from models.store import DESCRIPTION

logger = logging.getLogger(__name__)

Kind: TypeAlias = Literal["lora", "full"]

_MARK: Final = "fine_tuned"

Word = Annotated[str, StringConstraints(pattern=r"^\S+$", max_length=64)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Provenance(_Frozen):
    """Where a fine-tuned model comes from, as its metadata in the store say."""

    base: ModelName = Field(description="Catalog name of the model that it was tuned from")
    base_revision: str = Field(min_length=1, description="Its weights at that time (`revision_of`)")
    subject_token: Word | None = Field(None, description="The word that stands for the subject")
    class_name: str | None = Field(None, min_length=1, description="What kind of thing that is")
    steps: int | None = Field(None, ge=1, description="Of training")
    data_hash: str | None = Field(None, min_length=1, description="Of the training pictures")
    licence: str = Field(min_length=1)
    description: str = ""
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))


class _Marked(_Frozen):
    kind: Kind
    provenance: Provenance


class _Metadata(BaseModel):
    fine_tuned: _Marked


class _Description(BaseModel):
    creation_time: AwareDatetime
    metadata: _Metadata


@dataclass(frozen=True, slots=True)
class FineTuned:
    """A fine-tuned model in the store.

    Attributes:
        name: by which clients know it.
        kind: ``lora``: ``path`` has a ``LORA_FILE``; ``full``: ``path`` is a pipeline folder.
        tag: ``name:version``; always the same weights.
        path: its folder.
        size: bytes of the weights' files.
        provenance: where it comes from.
    """

    name: str
    kind: Kind
    tag: str
    path: Path
    size: int
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a fine-tuned model, and when it was registered."""

    model: FineTuned
    registered: datetime


def metadata(kind: Kind, provenance: Provenance) -> Mapping[str, Any]:
    """What the store is to keep with the files."""
    mark = _Marked(kind=kind, provenance=provenance)
    return {_MARK: mark.model_dump(mode="json", exclude_none=True)}


def read_version(folder: Path) -> Version | None:
    """What a version's folder holds; None if that is not a fine-tuned model, or no longer."""
    file = folder / DESCRIPTION
    try:
        status = file.stat()
        return _parse(file, status.st_ino, status.st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=4096)
def _parse(file: Path, inode: int, modified: int) -> Version | None:
    """Read a description, once for each time it is written (which both numbers tell)."""
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        if _MARK not in document["metadata"]:
            return None
        description = _Description.model_validate(document)
        size = sum(path.stat().st_size for path in file.parent.rglob("*.safetensors"))
    except (ValueError, LookupError, TypeError, yaml.YAMLError) as error:
        logger.warning("%s is left out, as its description is broken: %s", file.parent, error)
        return None
    name, version = file.parent.parent.name, file.parent.name
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
