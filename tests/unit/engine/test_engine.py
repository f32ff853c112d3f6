"""The loop: admission, batching, turns, faults, accounts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import PIL.Image
import pytest

from contract.errors import ErrorCode
from contract.events import Failed, Image
from contract.observer import RowOutcome
from engine.denoising.state import DenoisingState
from engine.engine import Engine
from engine.limits import BatchLimits
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.weights.cache import WeightCache
from tests.conftest import make_request
from tests.unit.engine.conftest import Client, Gate, Recorder, in_two_parts, pixels


def test_a_new_job_joins_a_running_one(gate: Gate, gated: Engine, recorder: Recorder) -> None:
    first = Client(gated, make_request(num_inference_steps=30))
    assert gate.entered.wait(60)
    second = Client(gated, make_request(num_inference_steps=3))
    gate.open.set()
    second.image()
    assert not isinstance(first.events[-1], Image), "the short job waited for the long one"
    first.image()
    assert recorder.batches == [1] + [2] * 3 + [1] * 26
    assert recorder.rows == [2 * jobs for jobs in recorder.batches]


def test_guidance_off_takes_one_row(engine: Engine, recorder: Recorder) -> None:
    Client(engine, make_request(guidance_scale=1.0, num_inference_steps=2)).image()
    assert recorder.rows == [1, 1]


def test_a_pass_that_does_not_fit_is_halved(gate: Gate, gated: Engine, recorder: Recorder) -> None:
    gate.memory = 2
    clients = [Client(gated, make_request(seed=seed)) for seed in range(3)]
    gate.open.set()
    for client in clients:
        client.image()
    assert set(recorder.batches) == {1}


def test_a_broken_pass_fails_its_jobs_and_not_the_engine(gate: Gate, gated: Engine) -> None:
    gate.broken = True
    clients = [Client(gated, make_request()) for _ in range(2)]
    gate.open.set()
    for client in clients:
        end = client.result()
        assert isinstance(end, Failed)
        assert end.code is ErrorCode.INTERNAL
        assert "secret" not in end.message
    gate.broken = False
    Client(gated, make_request()).image()


def test_what_is_not_finite_fails_its_own_job_only(engine: Engine) -> None:
    healthy = Client(engine, make_request())
    overflowing = Client(engine, make_request(guidance_scale=3e38))
    assert overflowing.failed().code is ErrorCode.INTERNAL
    healthy.image()


def test_shapes_take_turns(model: StableDiffusion, recorder: Recorder) -> None:
    engine = Engine(WeightCache.preloaded({"embedded": model}), observer=recorder)
    large = Client(engine, make_request(width=128, height=128, num_inference_steps=30))
    small = [Client(engine, make_request(num_inference_steps=4)) for _ in range(3)]
    for client in small:
        client.image()
    assert not isinstance(large.events[-1], Image), "the small jobs waited for the large one"
    large.image()
    engine.close()


def test_a_broken_request_does_not_spoil_the_admission_of_others(gate: Gate, gated: Engine) -> None:
    first = Client(gated, make_request(num_inference_steps=2))
    assert gate.entered.wait(60)
    healthy = Client(gated, make_request())
    broken = Client(gated, make_request(scheduler="no such scheduler"))
    gate.open.set()
    assert broken.failed().code is ErrorCode.INTERNAL
    healthy.image()
    first.image()


def test_admission_and_decoding_come_between_steps_one_at_a_time(gate: Gate, gated: Engine) -> None:
    """A running job waits for at most one batch of other work between two of its steps."""
    long = Client(gated, make_request(num_inference_steps=40))
    assert gate.entered.wait(60)
    short = [Client(gated, make_request(seed=seed, num_inference_steps=4)) for seed in range(3)]
    gate.open.set()
    for client in short:
        client.image()
    long.image()
    calls = [call.split()[0] for call in gate.calls]
    running = calls[calls.index("forward") : len(calls) - calls[::-1].index("forward")]
    assert {"prepare", "decode"} <= set(running)
    for call, following in pairwise(running):
        assert "forward" in (call, following), "two pieces of other work in a row"


def test_waiting_jobs_are_prepared_together_and_finished_ones_decoded_together(
    gate: Gate, gated: Engine
) -> None:
    blocker = Client(gated, make_request(num_inference_steps=1))
    assert gate.entered.wait(60)
    clients = [Client(gated, make_request(seed=seed)) for seed in range(3)]
    gate.open.set()
    for client in [blocker, *clients]:
        client.image()
    assert "prepare 3" in gate.calls
    assert "decode 3" in gate.calls


def test_a_pass_in_two_parts_makes_the_same_pictures(
    model: StableDiffusion, engine: Engine, recorder: Recorder
) -> None:
    requests = [
        make_request(seed=seed, guidance_scale=scale, num_inference_steps=4 + seed)
        for seed, scale in enumerate([3.0, 1.0, 3.0, 1.0, 1.0])
    ]
    whole = [Client(engine, request).image() for request in requests]
    divided = Recorder()
    halving = Engine(
        WeightCache.preloaded({"embedded": in_two_parts(model)}),
        observer=divided,
    )
    clients = [Client(halving, request) for request in requests]
    for client, expected in zip(clients, whole, strict=True):
        assert pixels(client.image()) == pytest.approx(pixels(expected), abs=1)
    halving.close()
    assert max(divided.batches) > 2
    assert sum(divided.rows) == sum(recorder.rows)


def test_a_pass_that_breaks_in_one_of_two_parts_fails_and_the_next_one_runs(gate: Gate) -> None:
    engine = Engine(WeightCache.preloaded({"embedded": in_two_parts(gate)}))
    gate.memory = 2  # a part has more than that, until the batch is halved
    gate.open.set()
    clients = [Client(engine, make_request(seed=seed)) for seed in range(4)]
    for client in clients:
        client.image()
    gate.broken = True
    for client in [Client(engine, make_request(seed=seed)) for seed in range(3)]:
        assert client.failed().code is ErrorCode.INTERNAL
    gate.broken = False
    Client(engine, make_request()).image()
    engine.close()


def test_many_pictures_are_not_encoded_beside_a_running_job_at_once(
    gate: Gate, gated: Engine, photo: bytes
) -> None:
    """What the prompts of a few jobs cost says nothing about the pictures of others."""
    for _ in range(3):
        for client in [Client(gated, make_request(num_inference_steps=1)) for _ in range(3)]:
            gate.open.set()
            client.image()
    gate.calls.clear()
    gate.open.clear()
    gate.entered.clear()
    long = Client(gated, make_request(num_inference_steps=20))
    assert gate.entered.wait(60)
    several = Client(gated, make_request(init_image=photo, strength=0.5, num_images=3))
    gate.open.set()
    several.image()
    long.image()
    assert [call for call in gate.calls if call.startswith("prepare")][1] == "prepare 1"


def test_a_request_that_comes_during_a_decoding_is_taken_up_at_once(
    gate: Gate, gated: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Asleep, it would not be back before the client's patience is at its end.
    monkeypatch.setattr("engine.engine.STALLED_SECONDS", 1_000.0)
    gate.open.set()
    later: list[Client] = []
    decode = gate.decode

    def decode_and_submit(
        states: Sequence[DenoisingState],
    ) -> list[PIL.Image.Image | ArithmeticError]:
        if not later:
            later.append(Client(gated, make_request(num_inference_steps=1)))
        return decode(states)

    gate.decode = decode_and_submit  # type: ignore[method-assign]
    Client(gated, make_request(num_inference_steps=1)).image()
    later[0].image()


def test_a_stream_of_small_requests_and_a_large_one_both_progress(
    model: StableDiffusion, recorder: Recorder
) -> None:
    engine = Engine(WeightCache.preloaded({"embedded": model}), observer=recorder)
    large = Client(
        engine, make_request(request_id="large", width=128, height=128, num_inference_steps=50)
    )
    finished = 0
    while not isinstance(large.events[-1], Image):
        small = [
            Client(
                engine,
                make_request(request_id=f"small-{finished + n}", seed=n, num_inference_steps=10),
            )
            for n in range(2)
        ]
        for client in small:
            client.image()
            finished += 1
    engine.close()
    assert finished >= 6
    seconds = {"large": 0.0, "small": 0.0}
    begun = False
    for done in recorder.passes:
        size = done.jobs[0].partition("#")[0].partition("-")[0]
        begun = begun or size == "large"
        seconds[size] += done.seconds if begun else 0.0
    # A third of the time, as there are two small ones, and all of it while there is none.
    assert seconds["large"] >= 0.25 * sum(seconds.values()), seconds


def test_row_steps_are_accounted_for_by_what_became_of_them(gate: Gate, recorder: Recorder) -> None:
    engine = Engine(
        WeightCache.preloaded({"embedded": gate}),
        limits=BatchLimits(buckets=(8,)),
        observer=recorder,
    )
    keep = Client(engine, make_request(num_inference_steps=6))
    assert gate.entered.wait(60)
    lost = Client(engine, make_request(num_inference_steps=6, guidance_scale=3e38))
    gate.open.set()
    keep.image()
    lost.failed()
    gate.entered.clear()
    gate.open.clear()
    given_up = Client(engine, make_request(num_inference_steps=6))
    assert gate.entered.wait(60)
    given_up.submission.cancel()
    gate.open.set()
    given_up.failed()
    engine.close()
    assert recorder.row_outcomes[RowOutcome.USEFUL] == 2 * 6
    assert recorder.row_outcomes[RowOutcome.ABANDONED] == 2 * 6
    assert recorder.row_outcomes[RowOutcome.WASTED] == 2, "the pass that was under way"
    assert sum(recorder.row_outcomes.values()) == sum(recorder.rows) == 8 * len(recorder.passes)
