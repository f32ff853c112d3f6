"""The command that builds a Bento and prints its tag: ``python -m deployment.bento``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from api.version import VERSION
from deployment.bento.build import BuildFailed, build, commit_time, revision
from deployment.bento.recipe import Device, Extra, Precision, UnusableRecipe, choose
from models.catalog import load_catalog
from models.errors import ModelError


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 1 with the cause on stderr."""
    options = _parser().parse_args(arguments)
    try:
        catalog = load_catalog(options.catalog)
        recipe = choose(
            [catalog.get(name.strip()) for name in options.models.split(",")],
            options.precision,
            device=options.device,
            model_source=options.model_source,
            catalog=options.catalog,
            extras=options.extra,
        )
        tag = build(
            recipe,
            version=options.version,
            revision=revision(),
            epoch=commit_time(),
            base_image=options.base_image,
        )
    except (ModelError, UnusableRecipe, BuildFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(tag)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deployment.bento", description=__doc__)
    parser.add_argument(
        "--models", default="embedded", help="names of the catalog, comma-separated"
    )
    parser.add_argument("--precision", choices=get_args(Precision), default="fp32")
    parser.add_argument(
        "--device", choices=get_args(Device), help="default: cpu for fp32, else cuda"
    )
    parser.add_argument(
        "--model-source", help="s3://bucket/prefix to fetch the models from at the start"
    )
    parser.add_argument(
        "--catalog",
        type=Path,
        default=os.environ.get("SD_CATALOG") or None,
        help="YAML file with entries of your own (default: $SD_CATALOG)",
    )
    parser.add_argument(
        "--extra",
        action="append",
        choices=get_args(Extra),
        default=[],
        help="optional packages to install with it, by requirements-EXTRA.txt (may be repeated)",
    )
    parser.add_argument(
        "--base-image",
        help="what its image starts from, for a registry of your own (default: Docker Hub's "
        "python, by digest)",
    )
    parser.add_argument("--version", default=VERSION, help="of the Bento (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
