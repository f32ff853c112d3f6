"""The note that an export leaves beside a model's files: what they do not say themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from contract.screening import Action, CheckName
from models.architectures import Family, TextEncoder
from models.catalog import Defaults, ModelEntry, ModelName, Task
from models.errors import LoadError
from models.finetuned import Provenance
from models.sources import Source

NOTE: Final = "stable_diffusion.yaml"


class EntryNote(BaseModel):
    """A model of the catalog, but for its name and source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Family
    tasks: tuple[Task, ...]
    defaults: Defaults
    text_encoders: tuple[TextEncoder, ...] | None = None
    licence: str
    licence_url: str | None = None
    description: str = ""
    screening: dict[CheckName, Action] = {}

    @classmethod
    def of(cls, entry: ModelEntry) -> Self:
        """Note an entry."""
        return cls(**{name: getattr(entry, name) for name in cls.model_fields})

    def entry(self, name: str, source: Source) -> ModelEntry:
        """The entry again, with another name and source."""
        fields = {each: getattr(self, each) for each in type(self).model_fields}
        return ModelEntry(name=name, source=source, **fields)


class ExportNote(BaseModel):
    """What an export knows: the catalog's entry of a model, or the origin of a LoRA."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ModelName
    entry: EntryNote | None = None
    provenance: Provenance | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.entry is None) == (self.provenance is None):
            raise ValueError("it must have either entry or provenance")
        return self

    def to_yaml(self) -> str:
        """The file's text."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False)


def read_note(folder: Path) -> ExportNote | None:
    """The note in a folder; None where there is none.

    Raises:
        LoadError: it is broken.
    """
    file = folder / NOTE
    if not file.is_file():
        return None
    try:
        return ExportNote.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError, ValidationError) as error:
        raise LoadError(f"{file} cannot be read: {error}") from error
