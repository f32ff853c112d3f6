"""The options of `python -m training dreambooth`."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from models.architectures import TextEncoder
from training import cluster
from training.dreambooth.options import (
    CROPS,
    MIXED_PRECISIONS,
    OPTIMIZERS,
    SCHEDULES,
    TARGETS,
    Options,
    Target,
)
from training.numbers import whole

RUNS = Path("runs/dreambooth")
_SEEDS = 2**31
# But for plans; and what stands for them there.
_REQUIRED = {"images": Path(), "token": "token", "class_name": "thing", "output": "plan"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all of them, by what they are about."""
    _subject(parser.add_argument_group("what to teach"))
    _pictures(parser.add_argument_group("pictures"))
    _network(parser.add_argument_group("what is trained"))
    _prior(parser.add_argument_group("prior preservation"))
    _updates(parser.add_argument_group("how"))
    _machine(parser.add_argument_group("on what"))
    _run(parser.add_argument_group("the run"))


def missing_arguments(given: argparse.Namespace) -> list[str]:
    """The arguments that are required and not there. Of a plan, they change nothing."""
    if given.plan:
        return []
    return [f"--{name.replace('_', '-')}" for name in _REQUIRED if getattr(given, name) is None]


def parse_options(given: argparse.Namespace) -> Options:
    """The options out of the command line, with the defaults that follow from others."""
    if given.plan:
        for name, value in _REQUIRED.items():
            setattr(given, name, getattr(given, name) or value)
    values = {name: value for name, value in vars(given).items() if hasattr(Options, name)}
    values |= {name: getattr(given, name) for name in ("base", "token", "class_name", "output")}
    values |= {
        # Workers of Ray may have another working directory.
        "images": given.images.resolve(),
        "work": (given.work or RUNS / given.output).resolve(),
        "catalog": given.catalog and given.catalog.resolve(),
        "instance_prompt": given.instance_prompt or f"a {given.token} {given.class_name}",
        "class_prompt": given.class_prompt or f"a {given.class_name}",
        "validation_prompts": tuple(given.validation_prompt),
    }
    return Options(**values)


def _subject(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--base", required=True, help="a model of the catalog, such as sd-1.5")
    add("--images", type=Path, help="folder with the subject's pictures")
    add("--token", type=_word, help="the word that will stand for the subject")
    add("--class-name", type=_text, help="what kind of thing it is")
    add("--output", help="name of the result in the model store")
    add("--licence", type=_text, help="of the result; default: the base's")
    add("--description", default=Options.description)
    add(
        "--catalog",
        type=Path,
        default=os.environ.get("SD_CATALOG") or None,
        help="YAML file with catalog entries of your own (default: $SD_CATALOG)",
    )


def _pictures(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--instance-prompt",
        type=_text,
        help="of pictures without a text file beside them; default: 'a TOKEN CLASS_NAME'",
    )
    add("--resolution", type=_side, help="side in pixels; default: the base's own")
    add("--crop", choices=CROPS, default=Options.crop, help="where longer sides are cut")
    add("--crops", type=whole(1), default=Options.crops, help="random cuts of each picture")
    add("--flip", action="store_true", help="train on mirrored copies too")


def _network(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--full", action="store_true", help="train all weights, not a LoRA")
    add(
        "--train-text-encoder",
        action="store_true",
        help="those of CLIP, not the denoiser alone",
    )
    add(
        "--text-encoders",
        type=_encoders,
        help="those that are used, such as clip_l,clip_g without T5; default: as the base has them",
    )
    add("--rank", type=whole(1, 1024), default=Options.rank, help="of the LoRA")
    add(
        "--targets",
        type=_targets,
        default=",".join(Options.targets),
        help=f"layers with a LoRA: some of {','.join(TARGETS)}",
    )


def _prior(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--prior-preservation", action="store_true", help="keep what the base knows of the class")
    add("--class-images", type=whole(1), default=Options.class_images)
    add(
        "--class-prompt",
        type=_text,
        help="of the class pictures, such as 'a {cat|dog} on a {red|blue} background'; default: "
        "'a CLASS_NAME'",
    )
    add("--prior-weight", type=_real(0), default=Options.prior_weight)


def _updates(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--steps", type=whole(1), default=Options.steps, help="updates in total, also resumed")
    add("--batch-size", type=whole(1), default=Options.batch_size, help="in a pass of a process")
    add("--accumulation", type=whole(1), default=Options.accumulation, help="passes an update")
    add(
        "--optimizer",
        choices=OPTIMIZERS,
        default=Options.optimizer,
        help="adamw8bit takes a quarter of the memory for its moments",
    )
    add("--learning-rate", type=_real(0), default=Options.learning_rate)
    add("--schedule", choices=SCHEDULES, default=Options.schedule, help="of the learning rate")
    add("--warmup", type=whole(0), default=Options.warmup, help="updates")
    add("--clip", type=_real(0), default=Options.clip, help="largest norm of the gradient")
    add("--snr-gamma", type=_real(0), help="min-SNR weights, usually 5; default: none")
    add("--seed", type=whole(0, _SEEDS - 1), default=Options.seed)


def _machine(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--device", choices=("auto", "cpu", "cuda"), default=Options.device)
    add("--mixed-precision", choices=MIXED_PRECISIONS, default=Options.mixed_precision)
    add("--gradient-checkpointing", action="store_true", help="less memory, more time")
    cluster.add_arguments(group)


def _run(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--plan", action="store_true", help="only tell the memory that it would take")
    add("--work", type=Path, help=f"folder of the run; default: {RUNS}/OUTPUT")
    add("--restart", action="store_true", help="start over, not from the last checkpoint")
    add("--checkpoint-every", type=whole(1), default=Options.checkpoint_every, help="updates")
    add(
        "--validation-every",
        type=whole(0),
        default=Options.validation_every,
        help="updates between contact sheets; 0: none",
    )
    add("--validation-images", type=whole(1), default=Options.validation_images, help="a prompt")
    add(
        "--validation-prompt",
        type=_text,
        action="append",
        default=[],
        help="may be given several times; default: the instance prompt",
    )


def _real(above: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or value <= above:
            raise argparse.ArgumentTypeError(f"must be a number above {above:g}, is {text}")
        return value

    return number


def _side(text: str) -> int:
    value = int(text)
    if not 64 <= value <= 2048 or value % 8:
        raise argparse.ArgumentTypeError(f"must be a multiple of 8 from 64 to 2048, is {text}")
    return value


def _text(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return text.strip()


def _word(text: str) -> str:
    if not text or len(text) > 64 or text.split() != [text]:
        raise argparse.ArgumentTypeError(f"must be one word of at most 64 letters, is '{text}'")
    return text


def _encoders(text: str) -> tuple[TextEncoder, ...]:
    given, known = text.split(","), get_args(TextEncoder)
    unknown = [name for name in given if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"unknown {', '.join(unknown)}: choose from {', '.join(known)}"
        )
    return tuple(name for name in known if name in given)


def _targets(text: str) -> tuple[Target, ...]:
    given = text.split(",")
    unknown = [name for name in given if name not in TARGETS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"unknown {', '.join(unknown)}: choose from {', '.join(TARGETS)}"
        )
    return tuple(target for target in TARGETS if target in given)
