"""A fine-tuned model: name, kind, files and origin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from models.catalog import ModelName

Kind: TypeAlias = Literal["lora", "full"]

# What clients say for "whichever model the prompt belongs to": no model has this name.
AUTO: Final = "auto"

Word = Annotated[str, StringConstraints(pattern=r"^\S+$", max_length=64)]


class Provenance(BaseModel):
    """The origin of a fine-tuned model, as its metadata in the store have it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: ModelName = Field(description="Catalog name of the model that it was tuned from")
    base_revision: str = Field(min_length=1, description="Its weights at that time (`revision_of`)")
    subject_token: Word | None = Field(None, description="The word that stands for the subject")
    class_name: str | None = Field(None, min_length=1, description="What kind of thing that is")
    steps: int | None = Field(None, ge=1, description="Of training")
    data_hash: str | None = Field(None, min_length=1, description="Of the training pictures")
    licence: str = Field(min_length=1)
    description: str = ""
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))


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
