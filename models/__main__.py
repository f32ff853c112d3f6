"""``python -m models pull|register|export|list|plan|remove``: the models on this machine."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import ByteSize, TypeAdapter, ValidationError

from models import listing, registry
from models.catalog import Catalog, ModelEntry, Variant, load_catalog
from models.device_memory import device_memory
from models.errors import LoadError, ModelError
from models.export import destination_of, export
from models.finetuned import Kind, Provenance
from models.lora import LORA_FILE
from models.placement import place
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
            case "plan":
                _plan(catalog, options)
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
    planning = commands.add_parser("plan", help="what a model takes in memory, and what fits")
    planning.add_argument("name")
    planning.add_argument(
        "--precision", choices=("fp32", "fp16", "bf16"), help="default: fp16 on a GPU, else fp32"
    )
    planning.add_argument("--size", type=_size, metavar="WxH", help="default: the model's own")
    planning.add_argument(
        "--rows", type=_rows, default=(1, 2, 4, 8), metavar="N,N", help="of passes (1,2,4,8)"
    )
    planning.add_argument(
        "--memory", type=_bytes, metavar="24GB", help="default: what this device has"
    )
    planning.add_argument("--quantize", metavar="SCHEME", help="as SD_QUANTIZE has it")
    planning.add_argument("--text-encoders", metavar="NAMES", help="as SD_TEXT_ENCODERS has it")
    planning.add_argument(
        "--configs",
        type=Path,
        metavar="FOLDER",
        help="its configs; default: those of its release, where it is not downloaded",
    )
    planning.add_argument("--json", action="store_true", help="one JSON object")
    removal = commands.add_parser("remove", help="delete a downloaded or a fine-tuned model")
    removal.add_argument("name")
    removal.add_argument(
        "--precision", choices=("fp32", "fp16"), help="of a downloaded one; default: all"
    )
    return parser


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def _rows(text: str) -> tuple[int, ...]:
    rows = tuple(int(part) for part in text.split(","))
    if min(rows) < 1:
        raise ValueError(text)
    return rows


def _bytes(text: str) -> int:
    return TypeAdapter(ByteSize).validate_python(text)


def _plan(catalog: Catalog, options: argparse.Namespace) -> None:
    # It imports torch and diffusers, which the other commands do without.
    from models import plan

    entry = registry.with_pipelines(catalog).get(options.name)
    changes = {"quantize": options.quantize, "text_encoders": options.text_encoders}
    if changes["text_encoders"] is not None:
        changes["text_encoders"] = tuple(changes["text_encoders"].split(","))
    given = {key: value for key, value in changes.items() if value is not None}
    try:
        entry = ModelEntry.model_validate({**entry.model_dump(), **given})
    except ValidationError as error:
        raise ModelError(error.errors(include_url=False)[0]["msg"]) from None
    here = place("auto", "auto")
    found = plan.plan(
        entry,
        options.precision or here.precision,
        options.size,
        options.rows,
        options.memory or device_memory(here.device),
        options.configs,
    )
    print(plan.as_json(found) if options.json else plan.as_text(found))


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
