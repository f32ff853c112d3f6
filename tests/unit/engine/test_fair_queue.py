"""The fair queue: every key that has work gets the same time."""

from __future__ import annotations

import pytest

from engine.fair_queue import FairQueue


def test_keys_get_the_same_time() -> None:
    """Long passes of large pictures do not keep small ones waiting, nor the other way round."""
    queue = FairQueue[str]()
    cost = {"small": 0.1, "large": 5.0}
    seconds = dict.fromkeys(cost, 0.0)
    for _ in range(300):
        key = queue.pick(cost)
        seconds[key] += cost[key]
        queue.charge(key, cost[key])
    assert seconds["large"] == pytest.approx(seconds["small"], abs=5.1)


def test_a_new_key_has_no_claim_on_the_time_before() -> None:
    queue = FairQueue[str]()
    for _ in range(50):
        queue.charge(queue.pick(["old"]), 1.0)
    order = []
    for _ in range(6):
        key = queue.pick(["old", "new"])
        order.append(key)
        queue.charge(key, 1.0)
    assert order.count("new") == 3


def test_a_key_that_comes_back_still_owes_what_it_had_too_much() -> None:
    queue = FairQueue[str]()
    queue.charge(queue.pick(["large"]), 10.0)
    order = []
    for keys in (["small"], ["small"], ["small", "large"], ["small", "large"]):
        key = queue.pick(keys)
        order.append(key)
        queue.charge(key, 1.0)
    assert order == ["small"] * 4


def test_what_is_picked_has_work() -> None:
    queue = FairQueue[str]()
    assert queue.pick(["a"]) == "a"
    assert queue.pick(["b"]) == "b"
    with pytest.raises(ValueError, match="empty"):
        queue.pick([])
