"""Models on a memory budget."""

from __future__ import annotations

import gc
import threading
import weakref
from io import BytesIO
from typing import Any

import PIL.Image
import pytest

from contract.errors import ErrorCode
from contract.observer import WeightKind
from engine.engine import Engine
from engine.pipelines.load import load_model
from engine.weights.cache import WeightCache
from engine.weights.source import Source
from models.catalog import load_catalog
from models.errors import NotEnoughMemory
from models.placement import Placement
from tests.conftest import make_request
from tests.unit.engine.conftest import Client, Recorder, pixels

GB = 10**9


class Weights:
    """Stands for a loaded model where only its presence matters."""


def source(memory: int, pinned: bool = False) -> Source[Weights]:
    return Source(Weights, memory, pinned)


def bring(cache: WeightCache[Weights], name: str) -> None:
    loaded = threading.Event()
    cache.request(name, loaded.set)
    assert loaded.wait(10)
    cache.collect()


def test_the_model_used_longest_ago_makes_room(recorder: Recorder) -> None:
    cache = WeightCache({name: source(4) for name in "abc"}, budget=8, observer=recorder)
    assert cache.load_all() == ["a", "b"]
    cache.use("a")
    bring(cache, "c")
    assert not cache.available("b")
    assert cache.available("a")
    assert cache.available("c")
    assert recorder.loads == [("a", True), ("b", True), ("b", False), ("c", True)]
    cache.close()


def test_what_models_share_counts_once_and_leaves_with_the_last(recorder: Recorder) -> None:
    sources = {
        "a": Source(Weights, 6, shared={"clip": 2}),
        "b": Source(Weights, 6, shared={"clip": 2}),
        "c": Source(Weights, 4),
    }
    cache = WeightCache(sources, budget=10, observer=recorder)
    assert cache.load_all() == ["a", "b"]
    assert recorder.memory[WeightKind.MODEL] == 10
    bring(cache, "c")
    assert not cache.available("a")
    assert cache.available("b")
    assert recorder.memory[WeightKind.MODEL] == 10, "of a and b, six of b are left"
    bring(cache, "a")
    assert not cache.available("b")
    assert recorder.memory[WeightKind.MODEL] == 10
    cache.close()


def test_pinned_models_come_first_and_stay() -> None:
    sources = {"a": source(4), "b": source(4), "c": source(4, pinned=True)}
    cache = WeightCache(sources, budget=8)
    assert cache.load_all() == ["c", "a"]
    cache.use("a")
    bring(cache, "b")
    assert not cache.available("a")
    assert cache.available("c")
    cache.close()


def test_a_busy_model_takes_no_new_jobs_and_leaves_when_it_is_idle() -> None:
    cache = WeightCache({"a": source(4), "b": source(4)}, budget=4)
    cache.load_all()
    cache.request("b", pytest.fail, leased={"a"})
    assert not cache.available("a"), "it took new jobs"
    assert cache.use("a") is not None, "its jobs lost their model"
    bring(cache, "b")
    assert cache.available("b")
    cache.close()


def test_no_more_models_leave_than_have_to() -> None:
    cache = WeightCache({name: source(4) for name in "abc"}, budget=8)
    cache.load_all()
    for used in ("a", "b", "a", "b"):
        cache.use(used)
        cache.request("c", pytest.fail, leased={"a", "b"})
    assert [cache.available(name) for name in "ab"].count(False) == 1
    cache.close()


def test_a_model_stays_if_whoever_wanted_its_place_has_gone() -> None:
    cache = WeightCache({"a": source(4), "b": source(4)}, budget=4)
    cache.load_all()
    cache.request("b", pytest.fail, leased={"a"})
    cache.request("a", pytest.fail, leased={"a"})
    assert cache.available("a")
    cache.close()


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"a": source(9 * GB)}, "a takes 9.00 GB, and the budget of all models is 8.00 GB"),
        ({"a": source(5 * GB, True), "b": source(5 * GB, True)}, "pinned models take 10.00 GB"),
        (
            {"a": source(5 * GB, True), "b": source(4 * GB)},
            "b takes 4.00 GB, with the pinned models 9.00 GB, and the budget of all models is 8",
        ),
    ],
)
def test_what_can_never_fit_is_refused(sources: dict[str, Source[Weights]], message: str) -> None:
    with pytest.raises(NotEnoughMemory, match=message):
        WeightCache(sources, budget=8 * GB).load_all()


@pytest.fixture
def two_models(recorder: Recorder) -> tuple[WeightCache[Any], list[weakref.ref[Any]]]:
    """The embedded model under two names, with room for one, and every copy ever loaded."""
    entry = load_catalog().get("embedded")
    copies: list[weakref.ref[Any]] = []

    def load() -> Any:
        model = load_model(entry, Placement("cpu", "fp32"))
        copies.append(weakref.ref(model))
        return model

    models = WeightCache(
        {"embedded": Source(load, 4), "other": Source(load, 4)},
        budget=4,
        observer=recorder,
    )
    models.load_all()
    return models, copies


def test_models_take_turns_and_give_their_memory_back(
    two_models: tuple[WeightCache[Any], list[weakref.ref[Any]]], recorder: Recorder
) -> None:
    models, copies = two_models
    engine = Engine(models, observer=recorder)
    names = ["embedded", "other", "embedded", "other", "other", "embedded"]
    clients = [Client(engine, make_request(model=name, num_inference_steps=3)) for name in names]
    images = [client.image() for client in clients]
    engine.close()
    first, *others = map(pixels, images)
    for other in others:
        assert other == pytest.approx(first, abs=1)
    texts = {PIL.Image.open(BytesIO(image.data)).info["parameters"] for image in images}
    assert len(texts) == 2, "the file names the model, and nothing else differs"
    # Who waits for a model is served together: not a swap for every request.
    assert recorder.loads == [
        ("embedded", True),
        ("embedded", False),
        ("other", True),
    ]
    gc.collect()
    assert [copy() is None for copy in copies] == [True, False]


def test_a_model_that_cannot_be_loaded_fails_those_who_want_it_only(
    recorder: Recorder,
) -> None:
    def broken() -> Any:
        raise OSError("secret path /weights")

    entry = load_catalog().get("embedded")
    models = WeightCache(
        {
            "embedded": Source(lambda: load_model(entry, Placement("cpu", "fp32")), 4),
            "broken": Source(broken, 4),
        },
        budget=4,
        observer=recorder,
    )
    engine = Engine(models)
    for _ in range(3):
        failed = Client(engine, make_request(model="broken")).failed()
        assert failed.code is ErrorCode.NOT_READY
        assert "secret" not in failed.message
        assert failed.retry_after is not None
        assert 1 < failed.retry_after <= 60
        Client(engine, make_request(num_inference_steps=2)).image()
    engine.close()
    # Once it was evicted for the broken one, not at each request.
    assert recorder.loads.count(("embedded", True)) <= 2


def test_a_job_that_waits_for_a_model_can_be_cancelled_and_overdue() -> None:
    go_on = threading.Event()
    entry = load_catalog().get("embedded")

    def slow() -> Any:
        assert go_on.wait(60)
        return load_model(entry, Placement("cpu", "fp32"))

    engine = Engine(WeightCache({"embedded": Source(slow)}))
    cancelled = Client(engine, make_request())
    overdue = Client(engine, make_request(deadline=0.2))
    patient = Client(engine, make_request(num_inference_steps=2))
    cancelled.submission.cancel()
    assert cancelled.failed().code is ErrorCode.CANCELLED
    assert overdue.failed().code is ErrorCode.DEADLINE_EXCEEDED
    assert not go_on.is_set()
    go_on.set()
    patient.image()
    engine.close()
