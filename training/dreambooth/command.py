"""`python -m training dreambooth`: checks what it is given, trains, registers the result."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import NoReturn

import torch
from accelerate import PartialState

from models.catalog import load_catalog
from models.errors import ModelError
from models.finetuned import FineTuned
from models.registry import check_name
from models.store import readable
from training.cluster import Cluster, ClusterError, cluster_of
from training.dreambooth.arguments import add_arguments, missing_arguments, parse_options
from training.dreambooth.base import find_base, find_device, side_of
from training.dreambooth.cluster import train_with_ray
from training.dreambooth.errors import TrainingError
from training.dreambooth.loop import train
from training.dreambooth.optimizers import check_optimizer
from training.dreambooth.options import Options
from training.dreambooth.pictures import find_examples, read_picture
from training.dreambooth.plan import make_plan
from training.dreambooth.plan_table import plan_table
from training.dreambooth.prior import class_prompts
from training.dreambooth.result import register_result
from training.dreambooth.run import RunFolder


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Says the defaults of options that have one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default else action.help


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "dreambooth",
        help="teach a model one subject from a few pictures",
        formatter_class=_Help,
    )
    add_arguments(parser)
    parser.set_defaults(run=partial(run, refuse=parser.error))


def run(given: argparse.Namespace, *, refuse: Callable[[str], NoReturn]) -> None:
    """Run the sub-command. What goes wrong on purpose ends it with a sentence.

    Args:
        refuse: ends it, as an option is missing.
    """
    if missing := missing_arguments(given):
        refuse(f"the following arguments are required: {', '.join(missing)}")
    options = parse_options(given)
    try:
        if given.plan:
            print(plan_table(make_plan(options), options))
            return
        check(options)
        if given.restart:
            _restart(options)
        finetuned = dreambooth(
            options,
            cluster_of(given, cuda=find_device(options) == "cuda"),
            restart=given.restart,
        )
    except torch.OutOfMemoryError as error:
        _fail(
            f"{error} Try --mixed-precision bf16, --gradient-checkpointing or a lower --rank; "
            "--plan tells what is needed."
        )
    except (TrainingError, ClusterError, ModelError, OSError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue.", file=sys.stderr)
        sys.exit(130)
    if finetuned is not None:
        print(
            f"{finetuned.tag} is in the model store ({finetuned.kind}, "
            f"{readable(finetuned.size)}); log and sheets are in {options.work}."
        )


def _fail(sentence: str) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(1)


def check(options: Options) -> None:
    """Refuse what could never work, before anything is loaded.

    Raises:
        TrainingError: pictures, prompts, device or precision.
        ModelError: the base, or the result's name.
    """
    entry = find_base(options)
    check_name(options.output, load_catalog(options.catalog))
    find_device(options)
    check_optimizer(options.optimizer)
    if options.prior_preservation:
        class_prompts(options)
    for example in find_examples(options.images, options.token, options.instance_prompt):
        read_picture(example.path, side_of(entry, options))


def dreambooth(
    options: Options, cluster: Cluster | None = None, *, restart: bool = False
) -> FineTuned | None:
    """Train and register. The other processes of a run get None.

    Raises:
        TrainingError, ModelError: see `train`; ClusterError: see `train_with_ray`.
    """
    if cluster is not None:
        train_with_ray(options, cluster, restart=restart)
        return register_result(options)
    train(options)
    return register_result(options) if PartialState().is_main_process else None


def _restart(options: Options) -> None:
    state = PartialState(cpu=find_device(options) == "cpu")
    if state.is_main_process:
        RunFolder(options.work).clear()
    state.wait_for_everyone()
