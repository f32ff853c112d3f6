"""Latents computed once, and the order in which they are drawn."""

from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from training.dreambooth.errors import TrainingError
from training.dreambooth.latents import Material, encode


def _material(count: int) -> Material:
    numbers = torch.arange(count)
    mean = numbers.float().view(-1, 1, 1, 1)
    return Material(mean, torch.zeros_like(mean), numbers.view(-1, 1) * 10, numbers)


def _drawn(material: Material, first: int, count: int, seed: int = 0) -> list[int]:
    latents, conditions = material.draw(first, count, seed, torch.Generator())
    assert torch.equal(conditions.flatten(), latents.flatten() * 10)
    return [int(one) for one in latents.flatten()]


def test_every_picture_comes_once_before_any_comes_again() -> None:
    material = _material(5)
    whole = _drawn(material, 0, 20)
    epochs = [whole[start : start + 5] for start in range(0, 20, 5)]
    assert all(sorted(epoch) == list(range(5)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_the_order_follows_from_number_and_seed_alone() -> None:
    material = _material(5)
    whole = _drawn(material, 0, 20)
    assert _drawn(material, 7, 6) == whole[7:13]
    assert _drawn(material, 0, 20, seed=1) != whole


def test_latents_are_those_of_the_vae(pipeline: StableDiffusionPipeline) -> None:
    pictures = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue", "red")]
    material = encode(pipeline, pictures, ["a cat", "a dog", "a cat"], embed=True)
    assert len(material) == 3
    assert material.prompts.tolist() == [0, 1, 0]
    assert torch.equal(material.mean[0], material.mean[2])
    decoded = pipeline.vae.decode(material.mean[1:2] / pipeline.vae.config.scaling_factor).sample
    red, _, blue = ((decoded[0].mean(dim=(1, 2)) + 1) / 2).tolist()
    assert blue > red + 0.4
    expected = pipeline.encode_prompt("a dog", torch.device("cpu"), 1, False)[0]
    torch.testing.assert_close(material.conditions[1:2], expected)


def test_a_prompt_that_does_not_fit_is_refused(pipeline: StableDiffusionPipeline) -> None:
    picture = Image.new("RGB", (64, 64))
    encode(pipeline, [picture], ["cat " * 75], embed=False)
    with pytest.raises(TrainingError, match=r"has 76 tokens, and only 75 fit: 'cat cat"):
        encode(pipeline, [picture], ["cat " * 76], embed=False)
