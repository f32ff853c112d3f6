"""Models that are loaded and unloaded on request, while others work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import sleep
from typing import Any

import pytest
import torch

from contract.errors import ErrorCode, RequestError
from contract.model_state import Availability
from engine.denoising.state import DenoisingState
from engine.engine import Engine
from engine.weights.cache import WeightCache
from engine.weights.source import Source
from tests.conftest import make_request
from tests.integration.server import wait_until
from tests.unit.engine.conftest import Client, Recorder
from tests.unit.engine.toy import Toy

SECONDS = 60
LONG = 500  # steps


class Shelf:
    """Models ``a``, ``b`` and ``c`` of four bytes each, whose loads can be held.

    Attributes:
        broken: names of those that cannot be loaded.
        slowly: makes each pass take a while.
    """

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.loads, self.slowly = threading.Event(), threading.Event()
        self.loads.set()

    def source(self, name: str, pinned: bool) -> Source[Any]:
        def load() -> Toy:
            assert self.loads.wait(SECONDS)
            if name in self.broken:
                raise OSError("secret path /weights")
            return Slow(self.slowly)

        return Source(load, 4, pinned)


class Slow(Toy):
    """Takes a while for a pass, where that is wanted: the engine's thread has others to look at."""

    def __init__(self, wanted: threading.Event) -> None:
        super().__init__()
        self._wanted = wanted

    def forward(self, states: Sequence[DenoisingState], rows: int) -> list[torch.Tensor]:
        if self._wanted.is_set():
            sleep(0.05)
        return super().forward(states, rows)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def engine(shelf: Shelf, recorder: Recorder) -> Iterator[Engine]:
    with running(shelf, recorder) as engine:
        yield engine


@contextmanager
def running(shelf: Shelf, recorder: Recorder, pinned: str = "") -> Iterator[Engine]:
    """An engine with room for two of three models, of which it has the first two."""
    sources = {name: shelf.source(name, name in pinned) for name in "abc"}
    models: WeightCache[Any] = WeightCache(sources, budget=8, observer=recorder)
    models.load_all()
    engine = Engine(models, observer=recorder)
    try:
        yield engine
    finally:
        shelf.loads.set()
        shelf.slowly.clear()
        engine.close()


def ask(engine: Engine, model: str, steps: int = 2) -> Client:
    return Client(engine, make_request(model=model, num_inference_steps=steps))


def becomes(engine: Engine, model: str, availability: Availability) -> str:
    """Wait for a state; returns its reason."""
    wait_until(
        lambda: engine.states[model].availability is availability, f"{model} to be {availability}"
    )
    return engine.states[model].reason


def refusal(work: Callable[[], Any]) -> RequestError:
    with pytest.raises(RequestError) as raised:
        work()
    return raised.value


def test_an_unloaded_model_takes_no_jobs_until_it_is_loaded(
    engine: Engine, recorder: Recorder
) -> None:
    engine.unload("a")
    refused = refusal(lambda: ask(engine, "a"))
    assert (refused.code, refused.field) == (ErrorCode.NOT_FOUND, "model")
    assert "until it is loaded again" in refused.message
    assert becomes(engine, "a", Availability.UNAVAILABLE) == "unloaded"
    assert recorder.loads[-1] == ("a", False)
    ask(engine, "b").image()

    # Its place is free, and it is not evicted for it.
    engine.load("a").result(SECONDS)
    assert engine.states["a"].ready
    ask(engine, "a").image()
    assert recorder.loads == [("a", True), ("b", True), ("a", False), ("a", True)]


def test_the_jobs_that_it_has_finish(engine: Engine, shelf: Shelf) -> None:
    shelf.slowly.set()
    accepted = [ask(engine, "a", LONG), ask(engine, "a", LONG)]
    engine.unload("a")
    assert becomes(engine, "a", Availability.UNLOADING) == "unloaded, and in use by earlier jobs"
    assert refusal(lambda: ask(engine, "a")).code is ErrorCode.NOT_FOUND
    shelf.slowly.clear()
    for client in accepted:
        client.image()
    becomes(engine, "a", Availability.UNAVAILABLE)


def test_a_model_takes_the_place_of_one_that_no_job_needs(
    engine: Engine, shelf: Shelf, recorder: Recorder
) -> None:
    assert engine.states["c"].ready
    assert engine.states["c"].reason == "not in memory: the next request loads it"
    shelf.slowly.set()
    busy = [ask(engine, "a", LONG)]
    engine.load("c").result(SECONDS)
    assert recorder.loads[-2:] == [("b", False), ("c", True)]

    busy.append(ask(engine, "c", LONG))
    refused = refusal(lambda: engine.load("b").result(SECONDS))
    assert refused.code is ErrorCode.BUSY
    assert refused.message.startswith("the model b takes 0.0 MB, for which SD_MODEL_MEMORY (")
    assert refused.message.endswith("has no room beside a (in use) and c (in use)")
    for client in busy:
        client.submission.cancel()
        client.failed()
    engine.load("b").result(SECONDS)


def test_pinned_models_stay(shelf: Shelf, recorder: Recorder) -> None:
    with running(shelf, recorder, pinned="a") as engine:
        refused = refusal(lambda: engine.unload("a"))
        assert refused.code is ErrorCode.INVALID_REQUEST
        assert "SD_PINNED_MODELS" in refused.message
        shelf.slowly.set()
        ask(engine, "b", LONG)
        refused = refusal(lambda: engine.load("c").result(SECONDS))
        assert refused.message.endswith("has no room beside b (in use) and a (pinned)")


def test_a_model_that_is_being_loaded_is_not_ready(engine: Engine, shelf: Shelf) -> None:
    shelf.loads.clear()
    waiting = ask(engine, "c")
    assert becomes(engine, "c", Availability.LOADING) == "being loaded"
    shelf.loads.set()
    waiting.image()
    assert engine.states["c"].ready


def test_a_model_that_cannot_be_loaded_is_not_ready_until_it_is(
    engine: Engine, shelf: Shelf
) -> None:
    shelf.broken.add("c")
    assert ask(engine, "c").failed().code is ErrorCode.NOT_READY
    assert becomes(engine, "c", Availability.UNAVAILABLE) == "it could not be loaded"
    failed = refusal(lambda: engine.load("c").result(SECONDS))
    assert (failed.code, failed.message) == (
        ErrorCode.NOT_READY,
        "the model c could not be loaded",
    )

    shelf.broken.clear()
    engine.load("c").result(SECONDS)
    assert engine.states["c"].ready
    ask(engine, "c").image()


def test_a_load_that_comes_to_nothing_is_ended(engine: Engine, shelf: Shelf) -> None:
    shelf.loads.clear()
    loads = [engine.load("c"), engine.load("c")]
    becomes(engine, "c", Availability.LOADING)
    engine.unload("c")
    for load in loads:
        assert refusal(partial(load.result, SECONDS)).code is ErrorCode.NOT_FOUND
    shelf.loads.set()
    becomes(engine, "c", Availability.UNAVAILABLE)

    shelf.loads.clear()
    late = engine.load("c")
    closing = threading.Thread(target=engine.close)
    closing.start()
    assert refusal(lambda: late.result(SECONDS)).code is ErrorCode.NOT_READY
    shelf.loads.set()
    closing.join()
    assert refusal(lambda: engine.load("c").result(SECONDS)).code is ErrorCode.NOT_READY


def test_unknown_models(engine: Engine) -> None:
    for change in (engine.load, engine.unload):
        assert refusal(partial(change, "x")).code is ErrorCode.NOT_FOUND
