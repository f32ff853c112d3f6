"""Jobs that wait for LoRAs, on a memory budget."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from contract.errors import ErrorCode, RequestError
from contract.observer import WeightKind
from contract.request import GenerationRequest, LoraUse
from engine.engine import Engine
from engine.limits import BatchLimits
from engine.lora.adapter import Adapter
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.weights.cache import WeightCache
from engine.weights.source import Source
from tests.conftest import make_request
from tests.unit.engine.conftest import Client, Gate, Recorder, in_two_parts
from tests.unit.engine.weights.conftest import Loras

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


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


class Unreadable(dict[str, Source[Adapter]]):
    """Sources of which one raises an exception, from a certain moment on."""

    broken = ""

    def __getitem__(self, tag: str) -> Source[Adapter]:
        if tag == self.broken:
            raise OSError("secret path /weights")
        return super().__getitem__(tag)


def test_a_source_that_raises_fails_the_job_that_wants_it_and_not_those_in_progress(
    gate: Gate, loras: Loras, recorder: Recorder
) -> None:
    sources = Unreadable(loras.sources)
    cache = WeightCache(sources, budget=8, kind=WeightKind.LORA, observer=recorder)
    engine = Engine(WeightCache.preloaded({"embedded": gate}), loras=cache, observer=recorder)
    running = [Client(engine, request(seed=seed, num_inference_steps=20)) for seed in range(2)]
    assert gate.entered.wait(60)
    broken = Client(engine, request("a"))
    behind = Client(engine, request("b"))
    sources.broken = "a:1"
    gate.open.set()
    assert broken.failed().code is ErrorCode.INTERNAL
    for client in [*running, behind]:
        client.image()
    engine.close()
    assert recorder.outcomes == {"ok": 3, "internal": 1}
