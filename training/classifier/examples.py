"""Pictures with their labels: the embedded composites, or a folder per class."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from PIL import Image

from training.embedded.art import STYLES
from training.embedded.dice import seeded
from training.embedded.measures import nearest_colour
from training.embedded.scenes import compose, held_out_scene, training_scene
from training.embedded.world import Colour, Subject, World, load_world

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
HELD_OUT_SHARE = 0.15
"""Share of a class that is held out where the folder itself does not say what is."""
HELD_OUT_PER_SCENE = 4
TINTED_SHARE = 0.5
"""Share of composites on any colour instead of a named one, so that no label has a colour."""
_TINT = "tint"


class UnusableData(ValueError):
    """A folder of pictures that nothing can be learnt from."""


@dataclass(frozen=True, slots=True)
class Example:
    """An RGB picture and the number of its label."""

    picture: Image.Image
    label: int


class Examples(Protocol):
    """Where training and test pictures come from; the test pictures are never trained on."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their numbers."""
        ...

    def __len__(self) -> int:
        """How many training pictures there are before they repeat (with changes)."""
        ...

    def training(self, index: int, rng: random.Random) -> Example:
        """A training picture: any index from 0 on, random things drawn from `rng`."""
        ...

    def held_out(self) -> dict[str, Sequence[Example]]:
        """The test pictures, by the name of the part of the test that they belong to."""
        ...


class Composites:
    """The world of the embedded model: every object in both art styles on coloured grounds.

    The test pictures show each object on the one colour that it is never trained on.
    """

    def __init__(self, world: World | None = None, seed: int = 0) -> None:
        self._world = world or load_world()
        self._seed = seed

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(subject.name for subject in self._world.subjects)

    def __len__(self) -> int:
        return len(self._world.subjects) * len(STYLES) * len(self._world.colours)

    def training(self, index: int, rng: random.Random) -> Example:
        label = index % len(self._world.subjects)
        style = STYLES[index // len(self._world.subjects) % len(STYLES)]
        subject = self._world.subjects[label]
        scene = training_scene(self._world, subject, style, rng)
        world = self._world
        if rng.random() < TINTED_SHARE:
            tint = _tint(world, subject, rng)
            world = World({**world.colours, _TINT: tint}, world.subjects)
            scene = replace(scene, background=(_TINT,))
        return Example(Image.fromarray(compose(world, scene)), label)

    def held_out(self) -> dict[str, Sequence[Example]]:
        rng = seeded(self._seed)
        return {
            style: [
                Example(
                    Image.fromarray(compose(self._world, held_out_scene(subject, style, rng))),
                    label,
                )
                for label, subject in enumerate(self._world.subjects)
                for _ in range(HELD_OUT_PER_SCENE)
            ]
            for style in STYLES
        }


class Folder:
    """Pictures of one class per sub-folder, named after it.

    With `train/` and `val/` in the folder, each with the class folders in it, that is the split;
    otherwise a share of every class (at least one picture) is held out, chosen by the seed.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        """Raises UnusableData where the folder is not of this form."""
        split = (folder / "train").is_dir() and (folder / "val").is_dir()
        found = _classes(folder / "train" if split else folder)
        if len(found) < 2:
            raise UnusableData(f"{folder}: two folders of pictures are needed, one per class")
        self.labels = tuple(found)
        if split:
            tests = _classes(folder / "val")
            if unknown := tests.keys() - found.keys():
                raise UnusableData(f"{folder}: val/ has classes train/ has not: {sorted(unknown)}")
        else:
            tests = _held_back(found, seed)
        self._training, self._tests = self._numbered(found), self._numbered(tests)
        if not self._tests:
            raise UnusableData(f"{folder}: there is no picture to test with")

    def __len__(self) -> int:
        return len(self._training)

    def training(self, index: int, rng: random.Random) -> Example:
        return self._training[index % len(self._training)].read()

    def held_out(self) -> dict[str, Sequence[Example]]:
        return {"held out": [file.read() for file in self._tests]}

    def _numbered(self, classes: dict[str, list[Path]]) -> list[_File]:
        numbers = {name: number for number, name in enumerate(self.labels)}
        return [_File(path, numbers[name]) for name, paths in classes.items() for path in paths]


def _tint(world: World, subject: Subject, rng: random.Random) -> Colour:
    """Any colour that is nearer to another named colour than to the one that is held out."""
    while True:
        tint = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
        if nearest_colour(tint, world.colours) != subject.held_out:
            return tint


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    label: int

    def read(self) -> Example:
        with Image.open(self.path) as image:
            return Example(image.convert("RGB"), self.label)


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The pictures of each sub-folder, both in alphabetical order."""
    if not folder.is_dir():
        raise UnusableData(f"{folder} is no folder")
    found = {
        part.name: sorted(path for path in part.iterdir() if path.suffix.lower() in SUFFIXES)
        for part in sorted(folder.iterdir())
        if part.is_dir()
    }
    for name, paths in found.items():
        if not paths:
            raise UnusableData(f"{folder / name}: no picture ({', '.join(SUFFIXES)})")
    return found


def _held_back(classes: dict[str, list[Path]], seed: int) -> dict[str, list[Path]]:
    """Take the test pictures out of `classes`; a class of one picture keeps it for training."""
    rng = seeded(seed)
    tests = {}
    for name, paths in classes.items():
        count = min(max(1, round(len(paths) * HELD_OUT_SHARE)), len(paths) - 1)
        tests[name] = sorted(rng.sample(paths, count))
        classes[name] = [path for path in paths if path not in tests[name]]
    return tests
