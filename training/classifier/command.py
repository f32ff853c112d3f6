"""The sub-command `classifier` of `python -m training`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from models.errors import ModelError
from models.export import copy, destination_of
from training import cluster
from training.classifier.cluster import train_with_ray
from training.classifier.evaluate import evaluate
from training.classifier.examples import Composites, Example, Examples, Folder, UnusableData
from training.classifier.recipe import Recipe
from training.cluster import ClusterError
from training.embedded.pictures import draw, held_out_requests, load_pipeline
from training.embedded.world import World, load_world

COMPOSITES = 120_000
"""Pictures that are enough for the embedded composites."""
PASSES = 30
"""How often each picture of a folder is seen, unless told."""
DRAWN_PER_OBJECT = 4


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "classifier",
        help="train or fine-tune an image classifier (a ViT)",
        description="Train a ViT, test it on held-out pictures, and write OUT/model and "
        "OUT/report.json. Run again, it goes on from its last checkpoint.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="working directory of the run")
    parser.add_argument(
        "--data",
        type=Path,
        help="a folder of pictures per class, or train/ and val/ with such folders; "
        "default: the composites of the embedded model's art",
    )
    parser.add_argument("--init-from", type=Path, help="a ViT to fine-tune, in safetensors")
    parser.add_argument(
        "--samples",
        type=int,
        help=f"pictures to learn from in total, also when resuming; default: {COMPOSITES} "
        f"composites, or {PASSES} times the pictures of the folder",
    )
    parser.add_argument("--batch", type=int, default=64, help="pictures per update")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare pictures")
    parser.add_argument("--save-every", type=int, default=200, help="updates per checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--drawings",
        type=Path,
        help="an embedded text-to-image model, to test the composites' classifier on its pictures",
    )
    parser.add_argument(
        "--export", help="copy the finished model there: a folder, or s3://bucket/prefix"
    )
    cluster.add_arguments(parser.add_argument_group("several processes"))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Train, test, and say how good it is. Exits with a sentence where the input is unusable."""
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if options.data is None:
            examples: Examples = Composites(seed=options.seed)
            samples = COMPOSITES
        else:
            examples = Folder(options.data.resolve(), seed=options.seed)
            samples = PASSES * len(examples)
        recipe = Recipe(
            # Workers of Ray may have another working directory.
            out=options.out.resolve(),
            samples=options.samples or samples,
            init_from=options.init_from and options.init_from.resolve(),
            batch=options.batch,
            learning_rate=options.learning_rate,
            workers=options.workers,
            save_every=options.save_every,
            seed=options.seed,
            device=device,
        )
        on = cluster.cluster_of(options, cuda=device == "cuda")
        if on is None:
            recipe.train(examples)
        else:
            train_with_ray(recipe, examples, on)
    except (ModelError, UnusableData, ClusterError) as error:
        raise SystemExit(f"cannot train: {error}") from error
    tests = examples.held_out()
    if options.drawings is not None:
        tests["drawn"] = drawings(options.drawings, load_world(), torch.device(device))
    report = evaluate(recipe.model, tests, torch.device(device), options.command)
    report.write(options.out / "report.json")
    if options.export is not None:
        _export(recipe.model, options.export)
    for part, accuracy in report.accuracy.items():
        print(
            f"{part}: top-1 {accuracy.top1:.1%}, top-5 {accuracy.top5:.1%} "
            f"of {accuracy.pictures} pictures"
        )


def _export(model: Path, where: str) -> None:
    files = {path.name: path for path in sorted(model.iterdir())}
    try:
        copy(files, destination_of(where), "classifier")
    except (ModelError, OSError) as error:
        raise SystemExit(f"{model} cannot be exported: {error}") from error


def drawings(model: Path, world: World, device: torch.device) -> Sequence[Example]:
    """Pictures that the embedded model draws of its held-out pairs, with what was asked for."""
    requests = held_out_requests(world, DRAWN_PER_OBJECT)
    numbers = {subject.name: number for number, subject in enumerate(world.subjects)}
    pictures = draw(load_pipeline(model, device), requests)
    return [
        Example(Image.fromarray(pixels), numbers[request.name])
        for pixels, request in zip(pictures, requests, strict=True)
    ]
