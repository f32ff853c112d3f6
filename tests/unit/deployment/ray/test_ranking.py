"""Which replica a request is sent to."""

from __future__ import annotations

from contract.request import LoraUse, Segment
from deployment.ray.ranking import LORA_LOAD, MODEL_LOAD, Need, Standing, ranked
from tests.conftest import make_request

BASE = frozenset({"embedded"})


def test_the_least_work_in_front_is_best() -> None:
    replicas = [Standing("busy", 9e9, BASE), Standing("idle", 0, BASE), Standing("half", 5e6, BASE)]
    assert ranked(Need.of(make_request()), replicas) == ["idle", "half", "busy"]


def test_a_lora_in_memory_is_worth_some_waiting_but_not_any() -> None:
    request = make_request(loras=(LoraUse("clay:1"),))
    work = Need.of(request).work

    def order(in_front: float) -> list[str]:
        has_it = Standing("has it", in_front * work, BASE, frozenset({"clay:1"}))
        return ranked(Need.of(request), [Standing("idle", 0, BASE), has_it])

    assert order(LORA_LOAD / 2) == ["has it", "idle"]
    assert order(LORA_LOAD * 2) == ["idle", "has it"]


def test_a_model_takes_longer_to_load() -> None:
    request = make_request(segments=(Segment("embedded", end=0.8), Segment("finisher", 0.8)))
    work = Need.of(request).work
    both = Standing("both", (MODEL_LOAD - 1) * work, BASE | {"finisher"})

    assert ranked(Need.of(request), [Standing("one", 0, BASE), both]) == ["both", "one"]


def test_a_replica_that_has_said_nothing_yet_is_as_good_as_an_idle_one() -> None:
    replicas = [Standing("busy", 1e9, BASE), Standing("new")]
    assert ranked(Need.of(make_request()), replicas) == ["new", "busy"]


def test_those_to_avoid_are_the_last_resort() -> None:
    replicas = [Standing("lost", 0, BASE), Standing("busy", 9e9, BASE)]
    assert ranked(Need.of(make_request()), replicas, avoid=["lost"]) == ["busy"]
    assert ranked(Need.of(make_request()), replicas[:1], avoid=["lost"]) == ["lost"]


def test_the_work_of_a_request() -> None:
    request = make_request(num_inference_steps=10, guidance_scale=3.0, width=64, height=32)
    assert Need.of(request).work == 2 * 10 * 64 * 32
    half = make_request(num_inference_steps=10, guidance_scale=1.0, strength=0.5, num_images=3)
    assert Need.of(half).work == 3 * 5 * 64 * 64
