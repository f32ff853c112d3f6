"""The catalog: the models that can be served, with source, tasks and defaults of each.

The built-in entries are in ``catalog.yaml`` next to this file; a second file of the same shape
adds a user's own. This module imports nothing heavy, so that every process can read the catalog.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import (
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from contract.screening import Action, CheckName
from models.architectures import ARCHITECTURES, Architecture, Family, SchedulerName, TextEncoder
from models.errors import CatalogError, UnknownModel
from models.quantization import Part, Quantization, Scheme, quantized_components
from models.sources import SOURCE_TYPES, FileSource, Frozen, Source

Variant: TypeAlias = Literal["fp32", "fp16"]
Task: TypeAlias = Literal["txt2img", "img2img", "inpaint"]

BUILT_IN = Path(__file__).with_name("catalog.yaml")


# Names become BentoML tags (lower case, at most 63 characters) with a precision appended.
ModelName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-._a-z0-9]*[a-z0-9])?$", max_length=48)
]
Side = Annotated[int, Field(ge=64, le=2048, multiple_of=8)]


class Defaults(Frozen):
    """The values of the fields that a request leaves out. Sizes are in pixels."""

    width: Side
    height: Side
    num_inference_steps: int = Field(ge=1, le=150)
    guidance_scale: float = Field(ge=0, le=30)
    strength: float = Field(0.8, ge=0, le=1)
    scheduler: SchedulerName
    # Skip-layer guidance; but for the layers, the defaults are those of diffusers' pipeline.
    skip_layers: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="Blocks of the transformer that skip-layer guidance leaves out, from 0"
    )
    skip_layer_scale: float = Field(2.8, ge=0, le=30)
    skip_layer_start: float = Field(0.01, ge=0, le=1)
    skip_layer_end: float = Field(0.2, ge=0, le=1)


class ModelEntry(Frozen):
    """One model of the catalog."""

    name: ModelName
    family: Family
    source: Source
    variants: tuple[Variant, ...] = Field(
        ("fp32", "fp16"), min_length=1, description="Precisions that its weights exist in"
    )
    tasks: tuple[Task, ...] = Field(("txt2img", "img2img", "inpaint"), min_length=1)
    defaults: Defaults
    text_encoders: tuple[TextEncoder, ...] | None = Field(
        None, description="Those that are loaded, of a family that can do without some of its own"
    )
    quantize: Quantization | None = Field(
        None, description="How weights are quantised, as SD_QUANTIZE has it; none are without it"
    )
    refiner: ModelName | None = Field(
        None, description="The entry that finishes its pictures, where a request wants that"
    )
    configs: ModelName | None = Field(
        None, description="Whose configs in models/configs/ it has; its own, without this"
    )
    licence: str = Field(min_length=1)
    licence_url: str | None = None
    gated: bool = Field(False, description="The hub asks for an accepted licence and a token")
    description: str = ""
    screening: dict[CheckName, Action] = Field(
        {}, description="What is done with its pictures; where it says nothing, the settings do"
    )

    @property
    def architecture(self) -> Architecture:
        return ARCHITECTURES[self.family]

    @property
    def skipped_components(self) -> frozenset[str]:
        """The components of its pipeline that are not loaded, as its ``text_encoders`` say."""
        if self.text_encoders is None:
            return frozenset()
        return self.architecture.skipped_components(self.text_encoders)

    def config_folder(self, location: Path) -> Path:
        """The pipeline folder with its configs, given where its weights are."""
        return self.source.config if isinstance(self.source, FileSource) else location

    def with_text_encoders(self, names: tuple[TextEncoder, ...] | None) -> ModelEntry:
        """The same model with these text encoders alone, if it is of a family with a choice.

        Raises:
            CatalogError: it cannot do without another one.
        """
        if names is None or not self.architecture.text_encoders:
            return self
        try:
            self.architecture.skipped_components(names)
        except ValueError as error:
            raise CatalogError(f"{self.name}: {error}.") from None
        return self.model_copy(update={"text_encoders": names})

    @property
    def quantized_parts(self) -> dict[Part, Scheme]:
        """How those of its parts are quantised that are."""
        absent = set() if self.has_t5 else {"t5"}
        return {part: how for part, how in (self.quantize or {}).items() if part not in absent}

    @property
    def quantized(self) -> dict[str, Scheme]:
        """The same by the components that its pipeline may have."""
        return quantized_components(self.quantized_parts)

    @property
    def has_t5(self) -> bool:
        """Whether T5 is loaded, if its files are there."""
        return "t5" in (
            self.architecture.text_encoders if self.text_encoders is None else self.text_encoders
        )

    def with_quantization(self, parts: Quantization | None) -> ModelEntry:
        """The same model quantised like that, unless its entry says how."""
        if parts is None or self.quantize is not None:
            return self
        return self.model_copy(update={"quantize": parts})

    @model_validator(mode="after")
    def _text_encoders_of_the_architecture(self) -> ModelEntry:
        # It raises, if that cannot be.
        _ = self.skipped_components
        return self

    @model_validator(mode="after")
    def _layers_of_a_transformer(self) -> ModelEntry:
        if self.defaults.skip_layers and "skip_layers" not in self.architecture.request_fields:
            raise ValueError(
                f"defaults.skip_layers: a model of the family {self.family} has no such layers"
            )
        return self

    @property
    def is_refiner(self) -> bool:
        """Whether it finishes what another model has begun."""
        return self.architecture.is_refiner(self.tasks)

    @model_validator(mode="after")
    def _only_what_can_be_refined(self) -> ModelEntry:
        if self.refiner is not None and "refiner" not in self.architecture.fields(self.tasks):
            raise ValueError(
                f"refiner must be absent for a model of the family {self.family} with the tasks "
                f"{', '.join(self.tasks)}, got '{self.refiner}'"
            )
        return self

    @model_validator(mode="after")
    def _scheduler_of_the_architecture(self) -> ModelEntry:
        allowed, scheduler = self.architecture.schedulers, self.defaults.scheduler
        if scheduler not in allowed:
            raise ValueError(
                f"defaults.scheduler must be one of {', '.join(allowed)} for a model of the "
                f"family {self.family}, got '{scheduler}'"
            )
        return self


class Catalog:
    """The entries by name, in the order of the files."""

    def __init__(self, entries: tuple[ModelEntry, ...]) -> None:
        self._entries = {entry.name: entry for entry in entries}

    def __iter__(self) -> Iterator[ModelEntry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def get(self, name: str) -> ModelEntry:
        """Raises UnknownModel, which lists the known names."""
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownModel(name, self._entries) from None


def load_catalog(extra: Path | None = None) -> Catalog:
    """The built-in entries, followed by those of the file ``extra``.

    Raises:
        CatalogError: names the file, the entry and the field that are wrong. A name that is
            already taken is an error too: an entry never silently replaces another.
    """
    entries = _read(BUILT_IN)
    if extra is not None:
        entries += _read(extra)
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            file = extra if extra is not None else BUILT_IN
            raise CatalogError(f"{file}: entry '{entry.name}': the name is already taken.")
        seen.add(entry.name)
    refiners = {entry.name: entry.family for entry in entries if entry.is_refiner}
    for entry in entries:
        if entry.refiner is not None and refiners.get(entry.refiner) != entry.family:
            file = extra if extra is not None else BUILT_IN
            raise CatalogError(
                f"{file}: entry '{entry.name}': field 'refiner': there is no refiner "
                f"'{entry.refiner}' of the family {entry.family}."
            )
    return Catalog(tuple(entries))


def _read(file: Path) -> list[ModelEntry]:
    try:
        document: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogError(f"{file}: cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CatalogError(f"{file}: is not valid YAML: {error}") from error
    if not isinstance(document, dict) or set(document) != {"models"}:
        raise CatalogError(f"{file}: must be a mapping with the single key 'models'.")
    if not isinstance(document["models"], list):
        raise CatalogError(f"{file}: 'models' must be a list of entries.")
    return [_entry(file, position, raw) for position, raw in enumerate(document["models"], 1)]


def _entry(file: Path, position: int, raw: Any) -> ModelEntry:
    name = raw.get("name") if isinstance(raw, dict) else None
    label = f"'{name}'" if isinstance(name, str) else f"number {position}"
    try:
        return ModelEntry.model_validate(raw, context={"base": file.resolve().parent})
    except ValidationError as error:
        problems = "; ".join(_problem(detail) for detail in error.errors(include_url=False))
        raise CatalogError(f"{file}: entry {label}: {problems}.") from error


def _problem(detail: Any) -> str:
    """``field 'source.repo': Field required``: without pydantic's name for the union's branch."""
    location = list(detail["loc"])
    if len(location) > 1 and location[0] == "source" and location[1] in SOURCE_TYPES:
        del location[1]
    message = detail["msg"].removeprefix("Value error, ").rstrip(".")
    field = ".".join(str(part) for part in location)
    return f"field '{field}': {message}" if field else message
