"""Composites and their captions."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from training.embedded.captions import captions, prompt
from training.embedded.measures import border_colour, nearest_colour, psnr
from training.embedded.scenes import (
    SIDE,
    Scene,
    compose,
    held_out_scene,
    training_scene,
)
from training.embedded.world import load_world

WORLD = load_world()
CAT = WORLD.drawn[0]


def test_held_out_pairs_are_never_composed_in_training_but_all_others_are() -> None:
    rng = random.Random(0)
    for subject in WORLD.subjects:
        seen = {
            colour
            for _ in range(200)
            for colour in training_scene(WORLD, subject, "noto", rng).background
        }
        assert seen == set(WORLD.colours) - {subject.held_out}


def test_held_out_scenes_are_on_the_held_out_colour() -> None:
    rng = random.Random(0)
    for subject in WORLD.drawn:
        assert held_out_scene(subject, "noto", rng).background == (subject.held_out,)


def test_the_same_numbers_give_the_same_picture() -> None:
    first = compose(WORLD, training_scene(WORLD, CAT, "noto", random.Random(5)))
    again = compose(WORLD, training_scene(WORLD, CAT, "noto", random.Random(5)))
    other = compose(WORLD, training_scene(WORLD, CAT, "noto", random.Random(6)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("colour", list(WORLD.colours))
def test_every_colour_is_told_from_the_border(colour: str) -> None:
    pixels = compose(WORLD, Scene(CAT, "noto", (colour,)))
    assert pixels.shape == (SIDE, SIDE, 3)
    assert border_colour(pixels) == WORLD.colours[colour]
    assert nearest_colour(border_colour(pixels), WORLD.colours) == colour


def test_a_flipped_scene_is_the_mirror_image() -> None:
    scene = Scene(CAT, "noto", ("blue",), size=54, shift=(0, 2))
    flipped = compose(WORLD, replace(scene, flip=True))
    difference = np.abs(compose(WORLD, scene)[:, ::-1].astype(int) - flipped)
    assert difference.max() <= 2


def test_a_gradient_goes_from_one_colour_to_the_other() -> None:
    pixels = compose(WORLD, Scene(CAT, "noto", ("red", "blue"), angle=0.0, size=46))
    assert tuple(pixels[0, 0]) == WORLD.colours["red"]
    assert tuple(pixels[0, -1]) == WORLD.colours["blue"]


def test_captions_start_with_the_standard_prompt_and_name_object_and_colours() -> None:
    plain = captions(Scene(CAT, "noto", ("orange",)))
    assert plain[0] == prompt("cat", "orange") == "a cat on an orange background"
    assert all("cat" in text for text in plain)
    (gradient,) = captions(Scene(CAT, "noto", ("red", "blue")))
    assert gradient == "a cat on a red and blue background"


@pytest.mark.parametrize(
    ("noun", "start"), [("owl", "an owl "), ("unicorn", "a unicorn "), ("ear of corn", "an ear ")]
)
def test_articles(noun: str, start: str) -> None:
    assert prompt(noun, "red").startswith(start)


def test_psnr_of_a_known_error() -> None:
    black = np.zeros((4, 4, 3), dtype=np.uint8)
    assert psnr(black, black + 255) == pytest.approx(0.0)
    assert psnr(black, black + 1) == pytest.approx(48.13, abs=0.01)
