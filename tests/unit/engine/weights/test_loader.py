"""Jobs that wait for LoRAs, on a memory budget."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.errors import ErrorCode, RequestError
from contract.events import Event, Image, ends
from contract.observer import WeightKind
from contract.request import GenerationRequest, LoraUse
from engine.engine import Engine
from engine.limits import BatchLimits
from engine.lora.adapter import Adapter
from engine.pipelines.base import DiffusionModel
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.weights.cache import Source, WeightCache
from tests.conftest import make_request
from tests.unit.engine.conftest import Client, Gate, Recorder, in_two_parts
from tests.unit.engine.lora.lora_files import write_diffusers

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pipeline: Any) -> Path:
    return write_diffusers(tmp_path_factory.mktemp("lora"), pipeline)


class Loras:
    """LoRAs ``a:1`` to ``d:1``, of four bytes each for the budget; the last one is broken."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.loads: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.sources = {f"{name}:1": Source(self._loader(name), 4) for name in "abcd"}

    def _loader(self, name: str) -> Any:
        def load(model: StableDiffusion) -> Adapter:
            self.loads.append(name)
            assert self.go_on.wait(60)
            if name == "d":
                raise OSError("secret path /weights")
            return model.load_adapter(self._folder)

        return load

    def cache(self, budget: int, recorder: Recorder) -> WeightCache[Adapter]:
        return WeightCache(self.sources, budget=budget, kind=WeightKind.LORA, observer=recorder)


@pytest.fixture
def loras(folder: Path) -> Loras:
    return Loras(folder)


@pytest.fixture
def engine(model: StableDiffusion, loras: Loras, recorder: Recorder) -> Iterator[Engine]:
    """With room for two LoRAs."""
    engine = Engine(
        WeightCache.preloaded({"embedded": model}),
        loras=loras.cache(8, recorder),
        observer=recorder,
    )
    yield engine
    loras.go_on.set()
    engine.close()


def request(*names: str, **changes: Any) -> GenerationRequest:
    uses = tuple(LoraUse(f"{name}:1") for name in names)
    return make_request(**{"num_inference_steps": 3, "loras": uses, **changes})


def test_a_lora_is_loaded_once_and_changes_the_picture(
    engine: Engine, loras: Loras, recorder: Recorder
) -> None:
    plain = Client(engine, request()).image().data
    tuned = [Client(engine, request("a", seed=seed)) for seed in (7, 8, 7)]
    pictures = [client.image().data for client in tuned]
    assert plain not in pictures
    assert pictures[0] != pictures[1]
    assert loras.loads == ["a"]
    assert recorder.memory[WeightKind.LORA] == 4


def test_different_loras_share_a_pass(engine: Engine, loras: Loras, recorder: Recorder) -> None:
    Client(engine, request("a", "b")).image()
    recorder.passes.clear()
    blocker = Client(engine, request(num_inference_steps=40))
    clients = [Client(engine, request(*names, num_images=2)) for names in ("a", "b", "", "ab")]
    for client in [*clients, blocker]:
        client.image()
    assert max(done.lora_sets for done in recorder.passes) == 3
    assert max(recorder.batches) == 9


@pytest.mark.parametrize(("rows_that_fit", "most"), [(1_000, 3), (2, 2)])
def test_sets_are_counted_in_passes_in_two_parts_and_in_halves(
    gate: Gate, loras: Loras, recorder: Recorder, rows_that_fit: int, most: int
) -> None:
    gate.memory = rows_that_fit
    engine = Engine(
        WeightCache.preloaded({"embedded": in_two_parts(gate)}),
        loras=loras.cache(8, recorder),
        limits=BatchLimits(rows=8),
        observer=recorder,
    )
    gate.open.set()
    for name in "ab":
        Client(engine, request(name)).image()
    wanted = {1: "a", 2: "b", 3: "ab", 4: "ba", 5: "", 6: "a", 7: "b"}
    recorder.passes.clear()
    requests = [
        request(*names, seed=seed, request_id=names or "none") for seed, names in wanted.items()
    ]
    for client in [Client(engine, each) for each in requests]:
        client.image()
    engine.close()
    for done in recorder.passes:
        names = {"".join(sorted(job.partition("#")[0])) for job in done.jobs} - {"enno"}
        assert done.lora_sets == len(names)
        assert done.rows == sum(done.job_rows) == 2 * len(done.jobs)
    assert max(done.lora_sets for done in recorder.passes) == most
    assert sum(recorder.rows) == 2 * 3 * len(wanted)


def test_sets_that_do_not_fit_together_take_turns(
    engine: Engine, loras: Loras, recorder: Recorder
) -> None:
    clients = [
        Client(engine, request(*names, seed=seed))
        for seed, names in enumerate(["ab", "bc", "ca", "a", "ab", "", "bc", "ca"])
    ]
    for client in clients:
        client.image()
    assert recorder.memory[WeightKind.LORA] <= 8
    assert recorder.outcomes == {"ok": 8}


def test_a_lora_in_use_stays_until_its_job_is_done(
    gate: Gate, loras: Loras, recorder: Recorder
) -> None:
    engine = Engine(
        WeightCache.preloaded({"embedded": gate}),
        loras=loras.cache(4, recorder),
        observer=recorder,
    )
    first = Client(engine, request("a", num_inference_steps=10))
    assert gate.entered.wait(60)
    second = Client(engine, request("b"))
    gate.open.set()
    first.image()
    second.image()
    engine.close()
    assert recorder.loads == [("a:1", True), ("a:1", False), ("b:1", True)]
    assert recorder.batches == [1] * 13


def test_others_go_on_while_a_lora_is_loaded(engine: Engine, loras: Loras) -> None:
    loras.go_on.clear()
    waiting = Client(engine, request("a"))
    Client(engine, request()).image()
    cancelled = Client(engine, request("a"))
    cancelled.submission.cancel()
    assert cancelled.failed().code is ErrorCode.CANCELLED
    overdue = Client(engine, request("b", deadline=0.2))
    assert overdue.failed().code is ErrorCode.DEADLINE_EXCEEDED
    assert len(waiting.events) == 1
    loras.go_on.set()
    waiting.image()


def test_one_that_cannot_be_loaded_fails_those_who_want_it_only(
    engine: Engine, loras: Loras
) -> None:
    for _ in range(2):
        broken = Client(engine, request("a", "d"))
        healthy = Client(engine, request("a"))
        failed = broken.failed()
        assert failed.code is ErrorCode.NOT_READY
        assert failed.message == "loras: d could not be loaded"
        assert failed.retry_after is not None
        assert 1 < failed.retry_after <= 60
        healthy.image()
    assert loras.loads.count("d") == 1


def refusal(engine: Engine, wanted: GenerationRequest) -> RequestError:
    with pytest.raises(RequestError) as refused:
        engine.submit(wanted, lambda event: None)
    assert refused.value.field == "loras"
    return refused.value


def test_what_could_never_be_had_is_refused_at_once(engine: Engine, model: StableDiffusion) -> None:
    assert refusal(engine, request("z")).code is ErrorCode.NOT_FOUND
    too_large = refusal(engine, request("a", "b", "c"))
    assert too_large.code is ErrorCode.OUT_OF_RANGE
    assert too_large.message == (
        "loras must take at most 8 bytes of memory together, these take 12"
    )
    compiled = Engine(WeightCache.preloaded({"embedded": model}))
    assert refusal(compiled, request("a")).code is ErrorCode.INVALID_REQUEST
    compiled.close()


def test_one_that_was_removed_is_not_found_and_a_new_one_is(engine: Engine, loras: Loras) -> None:
    loras.go_on.clear()
    first = Client(engine, request("a"))
    removed = Client(engine, request("b"))
    source = loras.sources.pop("b:1")
    loras.sources["e:1"] = source
    loras.go_on.set()
    first.image()
    assert removed.failed().code is ErrorCode.NOT_FOUND
    Client(engine, request("e")).image()


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
