"""``python -m models pull|register|export|list|remove``: the models on this machine."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from models import listing, registry
from models.catalog import Catalog, Variant, load_catalog
from models.errors import LoadError, ModelError
from models.export import destination_of, export
from models.finetuned import Kind, Provenance
from models.lora import LORA_FILE
from models.pulling import pull
from models.store import readable, remove, staging_root
from models.weights import check_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 for a failure, 130 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        catalog = load_catalog(options.catalog)
        match options.command:
            case "pull":
                _pull(catalog, options.name, options.precision)
            case "register":
                _register(catalog, options)
            case "export":
                _export(catalog, options.name, options.precision, options.destination)
            case "list":
                show = listing.as_json if options.json else listing.as_text
                print(show(catalog, registry.finetuned()))
            case _:
                _remove(catalog, options.name, options.precision)
    except (ModelError, OSError) as error:
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
    registration = commands.add_parser(
        "register", help="copy a fine-tuned model into the BentoML model store"
    )
    registration.add_argument("name", help="a new name, or that of a model to replace")
    files = registration.add_mutually_exclusive_group(required=True)
    files.add_argument("--lora", type=Path, metavar="FILE", help="a .safetensors file")
    files.add_argument("--pipeline", type=Path, metavar="FOLDER", help="a diffusers pipeline")
    registration.add_argument(
        "--base", required=True, help="the model of the catalog that it was tuned from"
    )
    registration.add_argument("--token", help="the word that stands for its subject")
    registration.add_argument("--class-name", help="what kind of thing its subject is")
    registration.add_argument("--licence", default="not stated")
    registration.add_argument("--description", default="")
    exporting = commands.add_parser(
        "export", help="write a model as a bare folder, to a disk or to S3"
    )
    exporting.add_argument("name", help="a name of the catalog, or of a fine-tuned model")
    exporting.add_argument("destination", help="a folder, or s3://bucket/prefix")
    exporting.add_argument(
        "--precision",
        choices=("fp32", "fp16"),
        default="fp16",
        help="which of its weights, where there are both (default: fp16)",
    )
    lister = commands.add_parser("list", help="show the catalog and what is on this machine")
    lister.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    removal = commands.add_parser("remove", help="delete a downloaded or a fine-tuned model")
    removal.add_argument("name")
    removal.add_argument(
        "--precision", choices=("fp32", "fp16"), help="of a downloaded one; default: all"
    )
    return parser


def _pull(catalog: Catalog, name: str, precision: str) -> None:
    stored = pull(catalog.get(name), precision)
    print(f"{name} in {precision} is in the BentoML model store as {stored.tag} ({stored.path}).")


def _register(catalog: Catalog, options: argparse.Namespace) -> None:
    """Copy what the user has, as the store takes the folder that it is given."""
    registry.check_name(options.name, catalog)
    entry = catalog.get(options.base)
    try:
        provenance = Provenance(
            base=options.base,
            base_revision=registry.revision_of(entry, entry.variants[0]),
            subject_token=options.token,
            class_name=options.class_name,
            licence=options.licence,
            description=options.description,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ModelError(f"{first['loc'][0]} {first['input']!r}: {first['msg']}.") from None
    with tempfile.TemporaryDirectory(dir=staging_root()) as temporary:
        folder = Path(temporary) / "model"
        kind: Kind
        if options.lora is not None:
            kind = "lora"
            check_file(options.lora)
            folder.mkdir()
            shutil.copyfile(options.lora, folder / LORA_FILE)
        else:
            kind = "full"
            if not options.pipeline.is_dir():
                raise LoadError(f"{options.pipeline} is no folder.")
            shutil.copytree(options.pipeline, folder)
        model = registry.register(options.name, kind, folder, provenance, catalog)
    print(f"{model.name} is in the BentoML model store as {model.tag} ({model.path}).")


def _export(catalog: Catalog, name: str, precision: str, where: str) -> None:
    size = export(catalog, name, precision, destination_of(where), where)
    print(f"{name} is in {where}, {readable(size)}; serve it with SD_MODEL_SOURCE.")


def _remove(catalog: Catalog, name: str, precision: Variant | None) -> None:
    if precision is None and name in [model.name for model in registry.finetuned()]:
        freed = registry.remove(name)
    else:
        entry = catalog.get(name)
        freed = sum(
            remove(entry, variant) for variant in entry.variants if precision in (None, variant)
        )
        if not freed:
            raise ModelError(f"{name} is not downloaded{f' in {precision}' if precision else ''}.")
    print(f"{name} is removed; {readable(freed)} are free again.")


if __name__ == "__main__":
    sys.exit(main())
