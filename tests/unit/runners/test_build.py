from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.precision import Placement
from models.catalog import load_catalog
from runners.build import model_source
from settings import Settings
from tests.conftest import make_request


@pytest.mark.parametrize(("vae_pixels", "calls"), [(256 * 256, [1] * 17), (17 * 64 * 64, [17])])
def test_the_decoder_takes_as_many_pixels_as_are_set(vae_pixels: int, calls: list[int]) -> None:
    settings = Settings(vae_pixels=vae_pixels)
    source = model_source(settings, load_catalog().get("embedded"), Placement("cpu", "fp32"))
    family: Any = source.load()
    seen: list[int] = []
    family._autoencoder._vae.decoder.register_forward_pre_hook(
        lambda _, arguments: seen.append(len(arguments[0]))
    )
    with torch.inference_mode():
        (state,) = family.prepare([make_request()])
        pictures = family.decode([state] * 17)
    assert len(pictures) == 17
    assert seen == calls
