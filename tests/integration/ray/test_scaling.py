"""Engines come with the work and go with it: 0 -> 1 -> 2 -> 1 -> 0."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest

from tests.integration.ray.cluster import Cluster
from tests.integration.ray.load import Load
from tests.integration.ray.test_losses import events, lose_device
from tests.integration.server import START_SECONDS, wait_until

PICTURE = {"prompt": "a red apple", "num_inference_steps": 8, "seed": 5}
# 60 row-steps. Those of six clients are more than one engine shall have in front of it.
LONGER = {**PICTURE, "num_inference_steps": 30}
CLIENTS, TARGET = 6, 120

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _deployed(cluster: Cluster) -> None:
    cluster.deploy(
        min_replicas=0,
        max_replicas=2,
        target_row_steps=TARGET,
        upscale_delay=1,
        downscale_delay=4,
        look_back=11,
    )
    wait_until(cluster.at_rest, "no engine")


def test_a_request_waits_for_the_first_engine_and_knows_its_place(cluster: Cluster) -> None:
    assert cluster.ready(), "a request would be served"

    told = events(cluster, PICTURE)
    assert next(told) == ("queued", {"position": 0})
    assert cluster.running() == 0, "its place is known before there is an engine"

    names = [name for name, _ in told]
    assert names[-1] == "image"
    assert "error" not in names
    assert cluster.running() == 1


@pytest.mark.parametrize("end", ["killed", "device lost"])
def test_a_request_outlives_the_only_engine(cluster: Cluster, end: str) -> None:
    ended: list[psutil.Process] = []
    names = []
    for name, _ in events(cluster, {**LONGER, "num_inference_steps": 150}):
        names.append(name)
        if name == "progress" and not ended:
            ended = cluster.processes()
            if end == "killed":
                for engine in ended:
                    engine.kill()
            else:
                cluster.inside(lose_device)

    assert ended
    assert not any(engine.is_running() for engine in ended)
    assert names[-1] == "image"
    assert "error" not in names


@contextmanager
def numbers_of_engines(cluster: Cluster) -> Iterator[list[int]]:
    """How many engines run, each time that the number changes in the block."""
    numbers = [cluster.running()]
    end = threading.Event()

    def look() -> None:
        while not end.wait(0.1):
            if (number := cluster.running()) != numbers[-1]:
                numbers.append(number)

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            yield numbers
        finally:
            end.set()
        looking.result()


def test_engines_come_and_go_with_the_work(cluster: Cluster) -> None:
    wait_until(cluster.at_rest, "no engine")
    load = Load(cluster, CLIENTS, LONGER)
    with numbers_of_engines(cluster) as numbers:
        with load.running():
            wait_until(lambda: cluster.running() == 2, "a second engine", START_SECONDS)
            since = load.done
            wait_until(lambda: load.done >= since + CLIENTS, "answers of both")
        wait_until(lambda: cluster.running() == 0, "the engines to go", START_SECONDS)

    assert numbers == [0, 1, 2, 1, 0]
    # As many pictures as requests.
    assert load.statuses == {200: load.sent}, load.failures
    assert load.sent >= 2 * CLIENTS
