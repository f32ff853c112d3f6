"""The list of the models on this machine, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from models.catalog import Catalog, ModelEntry, Variant
from models.finetuned import FineTuned, Kind
from models.sources import BentoSource, EmbeddedSource, FileSource, HuggingFaceSource
from models.store import find, folder_size, readable


@dataclass(frozen=True, slots=True)
class BaseRow:
    """A model of the catalog in one variant. ``size`` in bytes, None if it is not here."""

    name: str
    family: str
    precision: str
    state: str
    size: int | None
    licence: str
    gated: bool


@dataclass(frozen=True, slots=True)
class FineTunedRow:
    """A fine-tuned model. ``size`` in bytes; ``created`` in ISO 8601."""

    name: str
    kind: Kind
    base: str
    subject_token: str | None
    size: int
    licence: str
    created: str


def as_json(catalog: Catalog, models: Iterable[FineTuned]) -> str:
    """One object with the lists ``catalog`` and ``fine_tuned``."""
    lists = {
        "catalog": [asdict(row) for row in _base_rows(catalog)],
        "fine_tuned": [asdict(_fine_tuned_row(model)) for model in models],
    }
    return json.dumps(lists, indent=2)


def as_text(catalog: Catalog, models: Iterable[FineTuned]) -> str:
    """One table, and a second one if there are fine-tuned models."""
    text = _table(
        ("NAME", "FAMILY", "PRECISION", "STATE", "SIZE", "LICENCE"),
        [
            (
                row.name,
                row.family,
                row.precision,
                row.state,
                "-" if row.size is None else readable(row.size),
                row.licence + (" (gated)" if row.gated else ""),
            )
            for row in _base_rows(catalog)
        ],
    )
    rows = [_fine_tuned_row(model) for model in models]
    if not rows:
        return text
    return f"{text}\n\n" + _table(
        ("FINE-TUNED", "KIND", "BASE", "TOKEN", "SIZE", "LICENCE"),
        [
            (
                row.name,
                row.kind,
                row.base,
                row.subject_token or "-",
                readable(row.size),
                row.licence,
            )
            for row in rows
        ],
    )


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *lines]
    )


def _base_rows(catalog: Catalog) -> list[BaseRow]:
    return [_base_row(entry, variant) for entry in catalog for variant in entry.variants]


def _base_row(entry: ModelEntry, variant: Variant) -> BaseRow:
    state, size = _state(entry, variant)
    return BaseRow(
        name=entry.name,
        family=entry.family,
        precision=variant,
        state=state,
        size=size,
        licence=entry.licence,
        gated=entry.gated,
    )


def _state(entry: ModelEntry, variant: Variant) -> tuple[str, int | None]:
    source = entry.source
    if isinstance(source, HuggingFaceSource | BentoSource):
        stored = find(entry, variant)
        return ("not downloaded", None) if stored is None else ("downloaded", stored.size)
    if not source.path.exists():
        return "missing", None
    if isinstance(source, FileSource):
        return "local", source.path.stat().st_size
    state = "embedded" if isinstance(source, EmbeddedSource) else "local"
    return state, folder_size(source.path)


def _fine_tuned_row(model: FineTuned) -> FineTunedRow:
    provenance = model.provenance
    return FineTunedRow(
        name=model.name,
        kind=model.kind,
        base=provenance.base,
        subject_token=provenance.subject_token,
        size=model.size,
        licence=provenance.licence,
        created=provenance.created.isoformat(timespec="seconds"),
    )
