"""Class pictures: what they show, and that they are drawn once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from diffusers import StableDiffusionPipeline
from PIL import Image

from models.catalog import load_catalog
from tests.unit.training.dreambooth.conftest import MakeOptions
from training.dreambooth.drawing import draw
from training.dreambooth.errors import TrainingError
from training.dreambooth.prior import class_pictures, class_prompts

DEFAULTS = load_catalog().get("embedded").defaults.model_copy(update={"num_inference_steps": 2})


def test_prompts_are_drawn_from_the_template_by_the_seed(make_options: MakeOptions) -> None:
    prompts = class_prompts(make_options(class_images=40))
    assert set(prompts) == {
        f"a {thing} on a {colour} background"
        for thing in ("cat", "dog")
        for colour in ("red", "blue")
    }
    assert prompts == class_prompts(make_options(class_images=40))
    assert prompts != class_prompts(make_options(class_images=40, seed=1))
    assert class_prompts(make_options(class_prompt="a toy", class_images=2)) == ["a toy"] * 2


def test_a_broken_template_is_refused(make_options: MakeOptions) -> None:
    with pytest.raises(TrainingError, match=re.escape("--class-prompt 'a {cat|dog'")):
        class_prompts(make_options(class_prompt="a {cat|dog"))


def test_pictures_are_those_of_the_base_and_drawn_once(
    make_options: MakeOptions, tmp_path: Path, pipeline: StableDiffusionPipeline
) -> None:
    options = make_options(class_images=2, seed=5)

    def generate(prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Image.Image]:
        return draw(pipeline, prompts, seeds, side=64, defaults=DEFAULTS)

    first = class_pictures(generate, options, tmp_path / "class")
    files = sorted((tmp_path / "class").iterdir())
    assert [file.name for file in files] == ["00000.png", "00001.png"]
    written = files[0].stat().st_mtime_ns
    files[1].unlink()
    again = class_pictures(generate, options, tmp_path / "class")
    assert files[0].stat().st_mtime_ns == written
    assert [prompt for _, prompt in first] == class_prompts(options)
    for (one, _), (other, _) in zip(first, again, strict=True):
        # Drawn alone, rather than with another: equal but for the rounding.
        difference = np.asarray(one).astype(int) - np.asarray(other).astype(int)
        assert abs(difference).max() <= 1
