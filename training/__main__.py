"""The command line of the recipes: ``python -m training``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from training.classifier.command import add_parser as _add_classifier
from training.dreambooth.command import add_parser as _add_dreambooth
from training.embedded.derived import DERIVED_STAGES, DerivedRecipe
from training.embedded.evaluate import evaluate
from training.embedded.formats import EMBEDDED_DIR, FORMATS
from training.embedded.judge import JUDGE_DIR
from training.embedded.pictures import SWITCH_AT, pipeline_class
from training.embedded.recipe import STAGES, Recipe, default_stages
from training.embedded.report import write_report
from training.embedded.world import load_world


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one sub-command."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(given)
    options.command = shlex.join(["python", "-m", "training", *given])
    options.run(options)


def parser() -> argparse.ArgumentParser:
    """All sub-commands."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True)
    _add_embedded(commands)
    _add_evaluate(commands)
    _add_dreambooth(commands)
    _add_classifier(commands)
    return parser


def _add_embedded(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "embedded",
        help="train an embedded text-to-image model",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="working directory of the run")
    parser.add_argument(
        "--family",
        choices=("sd1", *FORMATS),
        default="sd1",
        help="its format; all but sd1 are made out of a finished model of that family",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--processes", type=int, help="default: one per core, one on a GPU")
    parser.add_argument(
        "--init-from",
        type=Path,
        help="a finished model of the family to go on from, or of sd1 to make another family's of; "
        "by default that is the embedded one",
    )
    parser.add_argument(
        "--stages",
        type=_stages,
        help=f"sd1: some of {','.join(STAGES)}; else of {','.join(DERIVED_STAGES)}; default: all",
    )
    parser.add_argument(
        "--denoiser-samples",
        type=int,
        help="all but sd1: in total, also when resuming; default: enough for the family",
    )
    parser.add_argument("--batch", type=int, default=Recipe.batch, help="samples per update")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    for stage in STAGES[:-1]:
        parser.add_argument(
            f"--{stage}-samples",
            type=int,
            default=getattr(Recipe, f"{stage}_samples"),
            help="in total, also when resuming",
        )
    parser.set_defaults(run=_embedded, parser=parser)


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure an embedded model on its held-out pairs",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="a pipeline directory")
    parser.add_argument("--refiner", type=Path, help="one of a refiner, to compare with")
    parser.add_argument(
        "--switch-at", type=float, default=SWITCH_AT, help="where the refiner takes over"
    )
    parser.add_argument("--out", type=Path, required=True, help="where the report is written")
    parser.add_argument("--judge", type=Path, default=JUDGE_DIR, help="the classifier that judges")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--per-object", type=int, default=4, help="pictures of each object")
    parser.add_argument("--timing-repeats", type=int, default=5)
    parser.set_defaults(run=_evaluate)


def _embedded(options: argparse.Namespace) -> None:
    device = _device(options.device)
    cores = 1 if device.type == "cuda" else torch.get_num_threads()
    stages: tuple[str, ...] | None = options.stages
    known = STAGES if options.family == "sd1" else DERIVED_STAGES
    unknown = [stage for stage in stages or () if stage not in known]
    if unknown:
        options.parser.error(f"unknown stage {', '.join(unknown)}: choose from {', '.join(known)}")
    if options.family != "sd1":
        source, initial = _beginning(options)
        DerivedRecipe(
            out=options.out,
            format=options.family,
            source=source,
            initial=initial,
            samples=options.denoiser_samples,
            batch=options.batch,
            device=device.type,
            processes=options.processes or cores,
            seed=options.seed,
        ).run(stages or DERIVED_STAGES)
        return
    recipe = Recipe(
        out=options.out,
        device=device.type,
        processes=options.processes or cores,
        init_from=options.init_from,
        batch=options.batch,
        seed=options.seed,
        **{f"{stage}_samples": getattr(options, f"{stage}_samples") for stage in STAGES[:-1]},
    )
    recipe.run(stages or default_stages(options.init_from))


def _beginning(options: argparse.Namespace) -> tuple[Path, Path | None]:
    """What a larger format is made of, and the model of that format to go on from, if any."""
    given: Path | None = options.init_from
    if given is None:
        return EMBEDDED_DIR, None
    kind = pipeline_class(given)
    wanted = FORMATS[options.family].pipeline.__name__
    if kind not in (wanted, StableDiffusionPipeline.__name__):
        options.parser.error(f"--init-from is a {kind}, and {options.family} needs a {wanted}")
    return (EMBEDDED_DIR, given) if kind == wanted else (given, None)


def _evaluate(options: argparse.Namespace) -> None:
    world = load_world()
    evaluation = evaluate(
        options.model,
        options.judge,
        world,
        device=_device(options.device),
        per_object=options.per_object,
        timing_repeats=options.timing_repeats,
        command=options.command,
        refiner=options.refiner,
        switch_at=options.switch_at,
    )
    write_report(evaluation, world, options.out)
    report = evaluation.report
    print(
        f"background {report.held_out.background:.1%}, object top-1 {report.held_out.top1:.1%}, "
        f"top-5 {report.held_out.top5:.1%}, VAE {report.vae_psnr_db:.1f} dB, "
        f"{report.seconds_batch_1:.2f} s a picture, {report.megabytes:.1f} MB"
    )
    if refined := report.refined:
        print(
            f"refined: background {refined.held_out.background:.1%}, "
            f"object top-1 {refined.held_out.top1:.1%}, "
            f"edges {refined.sharpness.without:.4f} -> {refined.sharpness.refined:.4f} "
            f"(composites {refined.sharpness.composites:.4f}), "
            f"restored {refined.restored_psnr_db.without:.1f} -> "
            f"{refined.restored_psnr_db.refined:.1f} dB"
        )


def _stages(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


if __name__ == "__main__":
    main()
