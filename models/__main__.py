"""``python -m models pull|list|remove``: the models of the catalog on this machine."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from models.catalog import (
    BentoSource,
    Catalog,
    EmbeddedSource,
    FileSource,
    HuggingFaceSource,
    ModelEntry,
    Variant,
    load_catalog,
)
from models.errors import ModelError
from models.pulling import pull
from models.store import find, folder_size, readable, remove


@dataclass(frozen=True, slots=True)
class Row:
    """One line of ``list``: a model in one variant. ``size`` in bytes, None if not here."""

    name: str
    family: str
    precision: str
    state: str
    size: int | None
    licence: str
    gated: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 for a failure, 130 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        catalog = load_catalog(options.catalog)
        if options.command == "pull":
            _pull(catalog, options.name, options.precision)
        elif options.command == "list":
            _list(catalog, as_json=options.json)
        else:
            _remove(catalog, options.name, options.precision)
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models", description=__doc__)
    parser.add_argument(
        "--catalog",
        type=Path,
        default=os.environ.get("SD_CATALOG") or None,
        help="YAML file with entries of your own (default: $SD_CATALOG)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    pulling = commands.add_parser("pull", help="download a model into the BentoML model store")
    pulling.add_argument("name", help="a name of the catalog, for example sd-1.5")
    pulling.add_argument("--precision", choices=("fp32", "fp16"), required=True)
    listing = commands.add_parser("list", help="show the catalog and what is on this machine")
    listing.add_argument("--json", action="store_true", help="one JSON array instead of a table")
    removal = commands.add_parser("remove", help="delete a downloaded model")
    removal.add_argument("name")
    removal.add_argument("--precision", choices=("fp32", "fp16"), help="default: all")
    return parser


def _pull(catalog: Catalog, name: str, precision: str) -> None:
    stored = pull(catalog.get(name), precision)
    print(f"{name} in {precision} is in the BentoML model store as {stored.tag} ({stored.path}).")


def _remove(catalog: Catalog, name: str, precision: Variant | None) -> None:
    entry = catalog.get(name)
    freed = sum(
        remove(entry, variant) for variant in entry.variants if precision in (None, variant)
    )
    if not freed:
        raise ModelError(f"{name} is not downloaded{f' in {precision}' if precision else ''}.")
    print(f"{name} is removed; {readable(freed)} are free again.")


def _list(catalog: Catalog, *, as_json: bool) -> None:
    rows = [_row(entry, variant) for entry in catalog for variant in entry.variants]
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    table = [("NAME", "FAMILY", "PRECISION", "STATE", "SIZE", "LICENCE")]
    table += [
        (
            row.name,
            row.family,
            row.precision,
            row.state,
            "-" if row.size is None else readable(row.size),
            row.licence + (" (gated)" if row.gated else ""),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def _row(entry: ModelEntry, variant: Variant) -> Row:
    state, size = _state(entry, variant)
    return Row(
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


if __name__ == "__main__":
    sys.exit(main())
