"""Latents computed once, and the order in which they are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from engine.pipelines.autoencoder import Autoencoder
from tests.unit.models import tiny
from training.dreambooth.latents import LatentScale, Material, at_once, decode, encode
from training.dreambooth.text import Prompts


def _material(count: int) -> Material:
    numbers = torch.arange(count)
    mean = numbers.float().view(-1, 1, 1, 1)
    prompts = Prompts([str(number) for number in range(count)], {"ids": numbers.view(-1, 1) * 10})
    told = {"time_ids": numbers.view(-1, 1) + 7}
    return Material(mean, torch.zeros_like(mean), prompts, numbers, told)


def _drawn(material: Material, first: int, count: int, seed: int = 0) -> list[int]:
    latents, told = material.draw(first, count, seed, torch.Generator())
    assert torch.equal(told["ids"].flatten(), latents.flatten() * 10)
    assert torch.equal(told["time_ids"].flatten(), latents.flatten() + 7)
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
    mean, deviation = encode(pipeline, pictures)
    assert mean.shape == deviation.shape == (3, 4, 16, 16)
    torch.testing.assert_close(mean[0], mean[2])
    red, blue, _ = (np.asarray(picture)[32, 32].astype(int) for picture in decode(pipeline, mean))
    assert red[0] > red[2] + 100
    assert blue[2] > blue[0] + 100


@pytest.mark.parametrize(
    "more",
    [
        {"scaling_factor": 1.5305, "shift_factor": 0.0609},
        {"scaling_factor": 0.5, "latents_mean": [1.0, -1, 2, 0], "latents_std": [0.5, 1, 2, 3]},
    ],
)
def test_latents_are_scaled_as_the_engine_scales_them(more: dict[str, Any]) -> None:
    vae = tiny._vae(**more)
    latents = torch.randn(2, 4, 8, 8)
    scale = LatentScale(vae.config)
    torch.testing.assert_close(scale.scaled(latents), Autoencoder(vae)._scaled(latents))
    torch.testing.assert_close(scale.unscaled(scale.scaled(latents)), latents)
    deviation = scale.spread(torch.ones(1, 4, 1, 1))
    torch.testing.assert_close(
        deviation, scale.scaled(torch.ones(1, 4, 1, 1)) - scale.scaled(torch.zeros(1, 4, 1, 1))
    )


def test_large_pictures_are_encoded_one_by_one() -> None:
    assert at_once(64 * 64) == 8
    assert at_once(512 * 512) == 4
    assert at_once(1024 * 1024) == at_once(2048 * 2048) == 1
