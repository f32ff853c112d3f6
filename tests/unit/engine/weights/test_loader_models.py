"""Jobs that wait for models and LoRAs at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from contract.events import Event, Image, ends
from contract.request import GenerationRequest, LoraUse
from engine.engine import Engine
from engine.limits import BatchLimits
from engine.pipelines.base import DiffusionModel
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.weights.cache import WeightCache
from engine.weights.source import Source
from tests.conftest import make_request
from tests.unit.engine.conftest import Client, Recorder
from tests.unit.engine.weights.conftest import Loras

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


def request(*names: str, **changes: Any) -> GenerationRequest:
    uses = tuple(LoraUse(f"{name}:1") for name in names)
    return make_request(**{"num_inference_steps": 3, "loras": uses, **changes})


@pytest.fixture
def load(pipeline: Any) -> Callable[[], DiffusionModel]:
    return lambda: StableDiffusion(
        type(pipeline)(**pipeline.components, requires_safety_checker=False)
    )


def test_a_lora_that_is_slow_to_load_keeps_nobody_from_another_model(
    load: Callable[[], DiffusionModel], loras: Loras, recorder: Recorder
) -> None:
    models = WeightCache({name: Source(load) for name in ("embedded", "other")})
    engine = Engine(models, loras=loras.cache(8, recorder))
    Client(engine, request()).image()
    loras.go_on.clear()
    slow = Client(engine, request("a"))
    Client(engine, request(model="other")).image()
    assert len(slow.events) == 1
    loras.go_on.set()
    slow.image()
    engine.close()


def test_a_model_that_is_slow_to_load_keeps_nobody_from_a_lora(
    model: StableDiffusion,
    load: Callable[[], DiffusionModel],
    loras: Loras,
    recorder: Recorder,
) -> None:
    go_on = threading.Event()

    def slowly() -> DiffusionModel:
        assert go_on.wait(60)
        return load()

    there: Source[DiffusionModel] = Source(lambda: model)
    models = WeightCache({"embedded": there, "slow": Source(slowly)})
    engine = Engine(models, loras=loras.cache(8, recorder))
    Client(engine, request()).image()
    slow = Client(engine, request(model="slow"))
    Client(engine, request("a")).image()
    assert len(slow.events) == 1
    go_on.set()
    slow.image()
    engine.close()


def test_a_lora_comes_however_many_keep_coming_for_another_one(
    model: StableDiffusion, loras: Loras, recorder: Recorder
) -> None:
    """Pictures of one step leave room in every pass, so that there is always one to admit."""
    engine = Engine(
        WeightCache.preloaded({"embedded": model}),
        loras=loras.cache(4, recorder),
        limits=BatchLimits(rows=2),
        observer=recorder,
    )
    enough = threading.Event()

    def submit() -> None:
        engine.submit(request("a", num_inference_steps=1, guidance_scale=1.0), go_on)

    def go_on(event: Event) -> None:
        if ends(event) and not enough.is_set():
            submit()

    for _ in range(12):
        submit()
    assert isinstance(Client(engine, request("b", deadline=20.0)).result(), Image)
    enough.set()
    engine.close(60)
    # Those who had come before were served first: one change, and one back.
    assert recorder.loads[:5] == [
        ("a:1", True),
        ("a:1", False),
        ("b:1", True),
        ("b:1", False),
        ("a:1", True),
    ]


def test_a_model_that_comes_back_has_its_loras(
    load: Callable[[], DiffusionModel], loras: Loras, recorder: Recorder
) -> None:
    models = WeightCache({name: Source(load, 4) for name in ("embedded", "other")}, budget=4)
    engine = Engine(models, loras=loras.cache(8, recorder), observer=recorder)
    before = Client(engine, request("a")).image().data
    Client(engine, request(model="other")).image()
    assert Client(engine, request("a")).image().data == before
    assert loras.loads == ["a"]
    engine.close()
