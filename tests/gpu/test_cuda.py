"""The engine on a CUDA device."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import PIL.Image
import pytest
import torch

from engine.engine import Engine
from engine.limits import BUCKETS, BatchLimits
from engine.pipelines.base import DiffusionModel
from engine.pipelines.compile import compile_denoiser
from engine.pipelines.load import load_model
from engine.pipelines.pass_shape import PassShape
from engine.weights.cache import WeightCache
from engine.weights.probe import affordable_pixels
from models.catalog import load_catalog
from models.placement import Placement
from tests.conftest import make_request
from tests.unit.engine.conftest import Client
from tests.unit.engine.reference import prepare

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def load(precision: str, **options: object) -> DiffusionModel:
    entry = load_catalog().get("embedded")
    return load_model(entry, Placement("cuda", precision), **options)  # type: ignore[arg-type]


def pictures(model: DiffusionModel, limits: BatchLimits) -> list[np.ndarray]:
    engine = Engine(WeightCache.preloaded({"embedded": model}), limits=limits)
    clients = [
        Client(engine, make_request(seed=seed, num_inference_steps=10 + seed)) for seed in range(5)
    ]
    files = [client.image().data for client in clients]
    engine.close()
    return [np.asarray(PIL.Image.open(BytesIO(file))).astype(int) for file in files]


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2), ("fp16", 12), ("bf16", 40)])
def test_the_pictures_are_those_of_the_cpu(precision: str, tolerance: int) -> None:
    entry = load_catalog().get("embedded")
    expected = pictures(load_model(entry, Placement("cpu", "fp32")), BatchLimits())
    found = pictures(load(precision), BatchLimits(buckets=BUCKETS))
    for one, other in zip(found, expected, strict=True):
        # Single pixels on edges may differ by more.
        assert np.percentile(abs(one - other), 95) <= tolerance


def test_a_compiled_denoiser_makes_the_same_pictures() -> None:
    warm = [PassShape(rows, 8, 8, 77) for rows in BUCKETS if rows <= 12]

    def compiler(unet: object) -> object:
        return compile_denoiser(unet, "inductor", threads=torch.get_num_threads(), warm=warm)

    eager = pictures(load("fp32"), BatchLimits(buckets=BUCKETS))
    compiled = pictures(load("fp32", compiler=compiler), BatchLimits(buckets=BUCKETS))
    for one, other in zip(compiled, eager, strict=True):
        assert np.percentile(abs(one - other), 99) <= 2


def test_the_measured_budget_fits_into_the_memory() -> None:
    model = load("fp16")
    pixels = affordable_pixels(model, make_request(width=256, height=256))
    rows = min(pixels // (256 * 256), 512)
    assert rows >= 8
    with torch.inference_mode():
        states = prepare(model, [make_request(width=256, height=256)])
        model.forward(states, rows)


def test_a_pass_that_does_not_fit_is_split() -> None:
    torch.cuda.empty_cache()
    model = load("fp32")
    taken = torch.cuda.memory_allocated() + 400 * 1024**2
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(taken / total)
    try:
        engine = Engine(
            WeightCache.preloaded({"embedded": model}), limits=BatchLimits(pixels=64 * 512 * 512)
        )
        clients = [
            Client(engine, make_request(seed=seed, width=512, height=512, num_inference_steps=2))
            for seed in range(16)
        ]
        for client in clients:
            client.image()
        engine.close()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
