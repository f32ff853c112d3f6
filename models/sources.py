"""The sources of models: where the files of an entry of the catalog are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator

SOURCE_TYPES = frozenset({"embedded", "directory", "file", "huggingface", "bentoml"})


def _beside_the_catalog(path: Path, info: ValidationInfo) -> Path:
    """Make a path absolute: relative ones start at the catalog file's own directory."""
    base: Path = (info.context or {}).get("base", Path.cwd())
    return (base / path.expanduser()).resolve()


CatalogPath = Annotated[Path, AfterValidator(_beside_the_catalog)]


class Frozen(BaseModel):
    """What cannot be changed, and has no fields beside its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EmbeddedSource(Frozen):
    """A pipeline folder that ships with the code."""

    type: Literal["embedded"]
    path: CatalogPath


class DirectorySource(Frozen):
    """A pipeline folder on this machine, as ``save_pretrained`` writes it."""

    type: Literal["directory"]
    path: CatalogPath


class FileSource(Frozen):
    """One checkpoint file in the original Stable Diffusion layout.

    Such a file has weights only. ``config`` is a folder with the rest in the layout of a
    pipeline folder (``model_index.json``, the components' configs, the tokenizer).
    """

    type: Literal["file"]
    path: CatalogPath
    config: CatalogPath

    @model_validator(mode="after")
    def _safetensors_only(self) -> FileSource:
        if self.path.suffix != ".safetensors":
            raise ValueError(f"path must name a .safetensors file, got '{self.path.name}'")
        return self


class HuggingFaceSource(Frozen):
    """A repository on the Hugging Face hub; ``revision`` is a commit, a tag or a branch."""

    type: Literal["huggingface"]
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str = Field("main", min_length=1)


class BentoSource(Frozen):
    """A model in the BentoML model store whose files are a pipeline folder."""

    type: Literal["bentoml"]
    tag: str = Field(pattern=r"^[a-z0-9][-._a-z0-9]*(:[a-z0-9][-._a-z0-9]*)?$")


Source: TypeAlias = Annotated[
    EmbeddedSource | DirectorySource | FileSource | HuggingFaceSource | BentoSource,
    Field(discriminator="type"),
]
