"""Thresholds, on what the embedded model's own autoencoder makes of real pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import PIL.Image
import pytest
import torch

from engine.pipelines.autoencoder import Picture
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.screening.appearance import Blank, Grayscale, colourfulness, contrast
from tests.conftest import composite
from training.embedded.world import load_world

WORLD = load_world()
NAMES = [subject.name for subject in WORLD.drawn[::2]]  # enough of them for a test
# These are gray themselves.
COLOURLESS = {"wolf", "panda", "elephant", "koala"}
# Its frame is thinner than what the autoencoder draws.
THIN = ("bicycle", "gray")
GRAY_GROUNDS = ("gray", "white", "black")


def decoded(model: StableDiffusion, pictures: Sequence[PIL.Image.Image]) -> list[PIL.Image.Image]:
    """What comes out of the autoencoder where these went in."""
    autoencoder = model._autoencoder
    generator = torch.Generator().manual_seed(0)
    keys = [Picture(picture.size, picture.tobytes()) for picture in pictures]
    with torch.inference_mode():
        posteriors = autoencoder.encode(keys)
        latents = [autoencoder.sample(posteriors[key], generator) for key in keys]
        decoded = autoencoder.decode(torch.cat(latents))
    return [each for each in decoded if isinstance(each, PIL.Image.Image)]


def plain(colour: tuple[int, int, int]) -> PIL.Image.Image:
    return PIL.Image.new("RGB", (64, 64), colour)


@pytest.fixture(scope="module")
def gray(model: StableDiffusion) -> list[PIL.Image.Image]:
    drawn = [composite(name, "red").convert("L").convert("RGB") for name in NAMES]
    return decoded(model, drawn)


@pytest.fixture(scope="module")
def coloured(model: StableDiffusion) -> list[PIL.Image.Image]:
    grounds = [colour for colour in WORLD.colours if colour not in GRAY_GROUNDS]
    drawn = [composite(name, grounds[i % len(grounds)]) for i, name in enumerate(NAMES)]
    return decoded(model, drawn)


def test_the_colours_that_an_autoencoder_adds_are_none(gray: list[PIL.Image.Image]) -> None:
    assert all(Grayscale().look(picture) for picture in gray)
    assert max(map(colourfulness, gray)) > 5, "not a test of anything"


def test_pictures_with_a_coloured_ground_have_colour(coloured: list[PIL.Image.Image]) -> None:
    assert not any(Grayscale().look(picture) for picture in coloured)


@pytest.mark.parametrize("ground", GRAY_GROUNDS)
def test_a_small_thing_of_some_colour_is_enough(model: StableDiffusion, ground: str) -> None:
    names = [name for name in NAMES if name not in COLOURLESS and (name, ground) != THIN]
    pictures = decoded(model, [composite(name, ground) for name in names])
    found = {
        name
        for name, picture in zip(names, pictures, strict=True)
        if Grayscale().look(picture) is not None
    }
    assert not found


def test_what_is_gray_by_nature_is_found_too() -> None:
    assert Grayscale().look(composite("wolf", "gray"))


def test_one_colour_is_blank(model: StableDiffusion) -> None:
    grays = [(value, value, value) for value in (0, 64, 128, 192, 255)]
    pictures = decoded(model, [plain(colour) for colour in (*WORLD.colours.values(), *grays)])
    assert all(Blank().look(picture) for picture in pictures)
    assert max(map(contrast, pictures)) > 1, "not a test of anything"


def test_what_is_drawn_is_not_blank(
    model: StableDiffusion, gray: list[PIL.Image.Image], coloured: list[PIL.Image.Image]
) -> None:
    camouflaged = [("bicycle", "gray"), ("pine tree", "green"), ("crab", "red"), ("pig", "pink")]
    hidden = decoded(model, [composite(*scene) for scene in camouflaged])
    assert not any(Blank().look(picture) for picture in (*gray, *coloured, *hidden))


def test_a_blank_picture_need_not_be_gray() -> None:
    assert Blank().look(plain((214, 48, 49)))
    assert Grayscale().look(plain((214, 48, 49))) is None


def test_the_metrics_by_hand() -> None:
    halves = PIL.Image.new("RGB", (64, 64), "white")
    halves.paste((0, 0, 0), (0, 0, 32, 64))
    assert contrast(halves) == pytest.approx(127.5, rel=1e-4)
    assert colourfulness(halves) == 0
    halves.paste((255, 0, 0), (0, 0, 32, 64))
    # red - green is 255 or 0, (red + green) / 2 - blue is 127.5 or 0.
    spread, mean = math.hypot(127.5, 63.75), math.hypot(127.5, 63.75)
    assert colourfulness(halves) == pytest.approx(spread + 0.3 * mean, rel=1e-4)


def test_large_pictures_are_sampled() -> None:
    small = composite("red apple", "blue")
    large = small.resize((2048, 1152), PIL.Image.Resampling.BICUBIC)
    whole = np.asarray(large).astype(float).reshape(-1, 3)
    assert contrast(large) == pytest.approx(np.sqrt(whole.var(axis=0).mean()), rel=0.01)
    assert colourfulness(large) == pytest.approx(colourfulness(small), rel=0.05)
