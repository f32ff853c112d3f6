"""The models that ship with the code, through the engine: they draw what they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from contract.request import Segment
from engine.engine import Engine
from engine.pipelines.base import DiffusionModel
from engine.pipelines.load import load_model
from engine.weights.cache import WeightCache
from engine.weights.source import Source
from models.catalog import ModelEntry, load_catalog
from models.placement import Placement
from models.sources import EmbeddedSource
from tests.conftest import make_request
from tests.unit.engine.conftest import Client, Recorder, pixels
from training.embedded.captions import prompt
from training.embedded.judge import JUDGE_DIR, Judge
from training.embedded.measures import border_colour, nearest_colour
from training.embedded.scenes import Pixels
from training.embedded.world import load_world

CATALOG = load_catalog()
SHIPPED = {entry.name: entry for entry in CATALOG if isinstance(entry.source, EmbeddedSource)}
DRAWN = [name for name, entry in SHIPPED.items() if not entry.is_refiner]
REFINED = [entry.name for entry in SHIPPED.values() if entry.refiner is not None]
# Pairs that no training has seen, as `held_out` of the world says.
ASKED = {"panda": "yellow", "mushroom": "yellow", "hamburger": "white", "tomato": "pink"}


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load(JUDGE_DIR, torch.device("cpu"))


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    def source(entry: ModelEntry) -> Source[DiffusionModel]:
        return Source(lambda: load_model(entry, Placement("cpu", "fp32")))

    engine = Engine(
        WeightCache({name: source(entry) for name, entry in SHIPPED.items()}), observer=Recorder()
    )
    yield engine
    engine.close()


def drawn(engine: Engine, entry: ModelEntry, segments: tuple[Segment, ...] = ()) -> list[Pixels]:
    """What the model makes of every prompt, by its defaults: [64, 64, 3] each."""
    defaults = entry.defaults
    clients = [
        Client(
            engine,
            make_request(
                model=entry.name,
                prompt=prompt(name, colour),
                seed=seed,
                width=defaults.width,
                height=defaults.height,
                num_inference_steps=defaults.num_inference_steps,
                guidance_scale=defaults.guidance_scale,
                scheduler=defaults.scheduler,
                segments=segments,
            ),
        )
        for seed, (name, colour) in enumerate(ASKED.items())
    ]
    made = [np.array(pixels(client.image()), dtype=np.uint8) for client in clients]
    return [picture.reshape(defaults.height, defaults.width, 3) for picture in made]


def assert_recognised(judge: Judge, pictures: list[Pixels]) -> None:
    seen = [best[0] for best in judge.rank(pictures)]
    assert seen == list(ASKED)
    colours = load_world().colours
    grounds = [nearest_colour(border_colour(picture), colours) for picture in pictures]
    assert grounds == list(ASKED.values())


def test_what_is_asked_for_was_held_out() -> None:
    held_out = {subject.name: subject.held_out for subject in load_world().drawn}
    assert held_out.items() >= ASKED.items()


@pytest.mark.parametrize("name", DRAWN)
def test_a_model_draws_what_it_is_asked_for(engine: Engine, judge: Judge, name: str) -> None:
    assert_recognised(judge, drawn(engine, SHIPPED[name]))


@pytest.mark.parametrize("name", REFINED)
def test_and_its_refiner_finishes_it(engine: Engine, judge: Judge, name: str) -> None:
    refiner = SHIPPED[name].refiner
    assert refiner is not None
    halves = (Segment(name, 0.0, 0.8), Segment(refiner, 0.8, 1.0))
    assert_recognised(judge, drawn(engine, SHIPPED[name], halves))
