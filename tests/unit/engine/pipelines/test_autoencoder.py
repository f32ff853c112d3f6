"""The autoencoder: batches and pictures that are too large for one call."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from engine.pipelines.autoencoder import Autoencoder, Picture
from tests.unit.engine.pipelines.rows import Rows
from tests.unit.models import tiny

pytestmark = pytest.mark.usefixtures("inference_mode")


def test_large_pictures_are_encoded_and_decoded_in_tiles(pipeline: Any, photo: bytes) -> None:
    """Nearly as good as whole ones, in calls that are bounded."""
    small = PIL.Image.frombytes("RGB", (64, 64), photo)
    picture = small.resize((192, 128), PIL.Image.Resampling.BICUBIC)
    whole, bounded = Autoencoder(pipeline.vae), Autoencoder(pipeline.vae, most_pixels=64 * 64)
    sizes: list[int] = []
    handles = [
        module.register_forward_pre_hook(
            lambda _, inputs, scale=scale: sizes.append(inputs[0][:, 0].numel() * scale)
        )
        for module, scale in [(pipeline.vae.encoder, 1), (pipeline.vae.decoder, whole.scale**2)]
    ]
    given = Picture(picture.size, picture.tobytes())
    (posterior,) = bounded.encode([given]).values()
    (again,) = bounded.decode(posterior.mode())
    assert max(sizes) <= 64 * 64
    assert len(sizes) > 12
    for handle in handles:
        handle.remove()
    (posterior,) = whole.encode([given]).values()
    (expected,) = whole.decode(posterior.mode())
    assert isinstance(again, PIL.Image.Image)
    assert isinstance(expected, PIL.Image.Image)
    assert again.size == expected.size == picture.size
    difference = np.asarray(again).astype(int) - np.asarray(expected).astype(int)
    assert np.abs(difference).mean() < 3


def test_batches_of_small_pictures_are_decoded_one_by_one_over_the_bound() -> None:
    vae = tiny._vae()
    latents = torch.randn((3, 4, 16, 16), generator=torch.Generator().manual_seed(0))
    with Rows(vae.decoder) as calls:
        pictures = Autoencoder(vae, most_pixels=2 * 32 * 32).decode(latents)
        Autoencoder(vae, most_pixels=3 * 32 * 32).decode(latents)
    assert calls == [1, 1, 1, 3]
    assert len(pictures) == 3
