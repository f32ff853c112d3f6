"""Training and test pictures stay apart, and belong to the label they come with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.training.classifier.colours import COLOURS, paint
from training.classifier.augment import augment
from training.classifier.examples import Composites, Folder, UnusableData
from training.embedded.dice import seeded
from training.embedded.measures import border_colour, nearest_colour
from training.embedded.world import load_world


def test_no_training_composite_is_on_the_held_out_colour() -> None:
    world = load_world()
    examples = Composites(world)
    for index in range(2 * len(world.subjects)):
        example = examples.training(index, seeded(index))
        subject = world.subjects[example.label]
        colour = nearest_colour(border_colour(np.asarray(example.picture)), world.colours)
        # A gradient's border is a mixture, which may happen to be like any colour.
        plain = example.picture.getpixel((0, 0)) == example.picture.getpixel((63, 63))
        assert not plain or colour != subject.held_out


def test_composites_are_tested_on_the_held_out_colour_alone() -> None:
    world = load_world()
    parts = Composites(world).held_out()
    assert set(parts) == {"noto", "twemoji"}
    for tests in parts.values():
        assert {example.label for example in tests} == set(range(len(world.subjects)))
        for example in tests[::7]:
            colour = world.colours[world.subjects[example.label].held_out]
            assert example.picture.getpixel((0, 0)) == colour


def test_composites_cover_every_object_in_both_styles() -> None:
    examples = Composites()
    count = len(examples.labels)
    first = [examples.training(index, seeded(0)).label for index in range(count)]
    assert first == list(range(count))
    noto, twemoji = (examples.training(index, seeded(3)).picture for index in (5, 5 + count))
    assert noto.tobytes() != twemoji.tobytes()


def test_a_folder_is_split_by_the_seed(tmp_path: Path) -> None:
    paint(tmp_path, count=10)
    examples = Folder(tmp_path, seed=1)
    assert examples.labels == tuple(sorted(COLOURS))
    assert len(examples) == 8 * len(COLOURS)
    trained = {examples.training(i, seeded(0)).picture.tobytes() for i in range(len(examples))}
    tested = {example.picture.tobytes() for example in examples.held_out()["held out"]}
    assert len(tested) == 2 * len(COLOURS)
    assert not trained & tested
    again = {example.picture.tobytes() for example in Folder(tmp_path, 1).held_out()["held out"]}
    assert again == tested
    other = {example.picture.tobytes() for example in Folder(tmp_path, 2).held_out()["held out"]}
    assert other != tested


def test_a_folder_may_bring_its_own_split(tmp_path: Path) -> None:
    paint(tmp_path / "train", count=3)
    paint(tmp_path / "val", count=2)
    examples = Folder(tmp_path)
    assert len(examples) == 3 * len(COLOURS)
    tests = examples.held_out()["held out"]
    assert [examples.labels[example.label] for example in tests] == [
        name for name in sorted(COLOURS) for _ in range(2)
    ]


def test_folders_that_are_none_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(UnusableData, match="is no folder"):
        Folder(tmp_path / "nothing")
    with pytest.raises(UnusableData, match="two folders"):
        Folder(tmp_path)
    paint(tmp_path, count=1)
    with pytest.raises(UnusableData, match="no picture to test with"):
        Folder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnusableData, match=r"empty: no picture \(.png"):
        Folder(tmp_path)


def test_val_may_have_no_class_of_its_own(tmp_path: Path) -> None:
    paint(tmp_path / "train", count=1)
    paint(tmp_path / "val", count=1)
    (tmp_path / "val" / "red").rename(tmp_path / "val" / "mauve")
    with pytest.raises(UnusableData, match="mauve"):
        Folder(tmp_path)


@pytest.mark.parametrize("size", [(64, 64), (7, 300), (1, 1)])
def test_changed_pictures_have_the_size_asked_for(size: tuple[int, int]) -> None:
    picture = Image.effect_noise(size, 80).convert("RGB")
    for seed in range(40):
        changed = augment(picture, (32, 48), seeded(seed))
        assert (changed.size, changed.mode) == ((32, 48), "RGB")
        assert changed.tobytes() == augment(picture, (32, 48), seeded(seed)).tobytes()
