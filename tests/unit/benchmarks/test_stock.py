"""What the contestants have in common draws as diffusers does, for every family."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from benchmarks.contestants.stock import Order, Stock
from contract.request import Segment
from tests.conftest import make_request
from tests.unit.engine.reference import stock
from tests.unit.models import tiny

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

ORDER = Order("a red apple", 32, 32, 5, 5.0, "euler", 7)


def pixels(picture: Any) -> Any:
    return np.asarray(picture).astype(int)


@pytest.mark.parametrize(
    "make", [tiny.stable_diffusion, tiny.sd3, lambda: tiny.sdxl(refiner=False)]
)
@pytest.mark.parametrize("from_picture", [False, True])
def test_a_batch_equals_each_alone(make: Any, from_picture: bool) -> None:
    ledger = StringIO()
    model = Stock(make(), ledger)
    image = PIL.Image.new("RGB", (32, 32), "teal") if from_picture else None
    orders = [replace(ORDER, seed=seed, image=image, strength=0.6) for seed in range(2)]
    both = model.draw_all([*orders, replace(orders[0], guidance=1.0)])
    lines = [line.split()[1:] for line in ledger.getvalue().splitlines()]
    assert {tuple(line) for line in lines} == {("4", "0", "1"), ("1", "0")}
    assert len(lines) == (2 * 5 if image is None else 2 * 3)
    for order, together in zip(orders, both, strict=False):
        (alone,) = model.draw([order])
        assert np.abs(pixels(alone) - pixels(together)).max() <= 1


def test_a_refiner_goes_on_with_the_latents_of_its_base() -> None:
    base, refiner = tiny.sdxl(refiner=False), tiny.sdxl(refiner=True)
    order = replace(ORDER, switch_at=0.6)
    (latents,) = Stock(base, StringIO()).draw([order])
    (picture,) = Stock(refiner, StringIO()).draw([order.refine(latents)])
    request = make_request(
        prompt=order.prompt,
        negative_prompt=None,
        width=32,
        height=32,
        num_inference_steps=5,
        guidance_scale=5.0,
        scheduler="euler",
        seed=7,
        segments=(Segment("base", 0.0, 0.6), Segment("refiner", 0.6, 1.0)),
    )
    expected = stock(base, request, "latent", denoising_end=0.6)
    assert torch.equal(latents, expected[0])
    expected = stock(refiner, request, "pil", image=expected, denoising_start=0.6)[0]
    assert np.abs(pixels(picture) - pixels(expected)).max() <= 1
