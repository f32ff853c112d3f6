from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from tests.conftest import ROOT
from training.dreambooth.options import Options
from training.embedded.scenes import Scene, compose
from training.embedded.world import load_world

MakeOptions = Callable[..., Options]


@pytest.fixture(autouse=True)
def _fresh_process() -> Iterator[None]:
    """Training settles what a process does for good, which a process of tests undoes.

    With one thread, so that the same training gives the same weights to the last bit.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of a robot. Not to be written to."""
    folder = tmp_path_factory.mktemp("robot")
    world = load_world()
    robot = next(subject for subject in world.subjects if subject.name == "robot")
    for colour in ("red", "blue", "white"):
        Image.fromarray(compose(world, Scene(robot, "noto", (colour,)))).save(
            folder / f"{colour}.png"
        )
    return folder


@pytest.fixture
def make_options(images: Path, tmp_path: Path) -> MakeOptions:
    """Options of a very short run on the embedded model."""

    def make(**changes: Any) -> Options:
        common = {
            "base": "embedded",
            "images": images,
            "token": "unqtkn",
            "class_name": "toy",
            "output": "robo",
            "work": tmp_path / "run",
            "instance_prompt": "a unqtkn",
            "class_prompt": "a {cat|dog} on a {red|blue} background",
            "rank": 4,
            "steps": 4,
            "checkpoint_every": 2,
            "validation_every": 0,
            "batch_size": 2,
            "device": "cpu",
        }
        return Options(**{**common, **changes})

    return make


def arguments(options: Options) -> list[str]:
    """The command line of ``make_options()``, as far as the tests change it."""
    given = {
        "base": options.base,
        "images": options.images,
        "token": options.token,
        "class-name": options.class_name,
        "output": options.output,
        "work": options.work,
        "instance-prompt": options.instance_prompt,
        "class-prompt": options.class_prompt,
        "rank": options.rank,
        "steps": options.steps,
        "checkpoint-every": options.checkpoint_every,
        "validation-every": options.validation_every,
        "batch-size": options.batch_size,
        "device": options.device,
    }
    line = ["dreambooth"]
    for name, value in given.items():
        line += [f"--{name}", str(value)]
    return line


__all__ = ["ROOT", "MakeOptions", "arguments"]
