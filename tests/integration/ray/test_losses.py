"""Replicas that are killed, replaced and updated: it costs the clients nothing but time."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.integration.clients import read_events
from tests.integration.ray.cluster import Cluster
from tests.integration.ray.load import Load
from tests.integration.server import START_SECONDS, wait_until

PICTURE = {"prompt": "a red apple", "num_inference_steps": 8, "seed": 5}
ENOUGH = 50

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _deployed(cluster: Cluster) -> None:
    cluster.deploy(min_replicas=2, max_replicas=2)
    wait_until(lambda: cluster.running() == 2, "two engines", START_SECONDS)


def events(cluster: Cluster, fields: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of a request, by name."""
    headers = {"Accept": "text/event-stream"}
    with cluster.client.stream("POST", "/txt2img", json=fields, headers=headers) as response:
        assert response.status_code == 200
        yield from read_events(response)


def by_index(images: list[dict[str, Any]]) -> list[npt.NDArray[np.int16]]:
    """The pixels of the pictures, in their order."""
    files = [base64.b64decode(one["data"]) for one in sorted(images, key=lambda one: one["index"])]
    return [np.asarray(Image.open(BytesIO(file)), np.int16) for file in files]


def busy_process(cluster: Cluster) -> Any:
    """The process of the engine that has work: it uses the processor."""
    one, other = cluster.processes()
    for process in (one, other):
        process.cpu_percent()
    threading.Event().wait(0.5)
    return max((one, other), key=lambda process: process.cpu_percent())


def test_a_killed_engine_in_the_middle_of_a_request(cluster: Cluster) -> None:
    fields = {**PICTURE, "num_inference_steps": 60, "num_images": 3, "width": 128, "height": 128}
    calm = [data for name, data in events(cluster, fields) if name == "image"]

    seen: list[tuple[str, dict[str, Any]]] = []
    killed = False
    for name, data in events(cluster, fields):
        seen.append((name, data))
        if not killed and name == "progress" and data["step"] >= 10:
            busy_process(cluster).kill()
            killed = True

    assert killed
    assert [name for name, _ in seen].count("queued") == 1
    assert "error" not in {name for name, _ in seen}
    for index in range(3):
        steps = [
            data["step"] for name, data in seen if name == "progress" and data["index"] == index
        ]
        assert steps == sorted(set(steps))
    images = [data for name, data in seen if name == "image"]
    assert sorted(data["index"] for data in images) == [0, 1, 2]
    assert {data["index"]: data["seed"] for data in images} == {0: 5, 1: 6, 2: 7}
    for image, same in zip(by_index(images), by_index(calm), strict=True):
        # What a picture is batched with rounds it, so not to the last bit.
        assert np.abs(image - same).max() <= 2
    wait_until(lambda: cluster.running() == 2, "the engine that replaces it", START_SECONDS)


def test_no_request_fails_when_an_engine_is_killed_under_load(cluster: Cluster) -> None:
    load = Load(cluster, 6, PICTURE)
    with load.running():
        wait_until(lambda: load.done >= 10, "the first answers")
        wait_until(
            lambda: all(one["work_left"] for one in cluster.stats()), "both engines to have work"
        )
        victim = cluster.processes()[0]
        victim.kill()
        before = load.done
        wait_until(lambda: load.done >= max(ENOUGH, before + 20), "answers without it")

    assert load.statuses == {200: load.done}, load.failures
    assert load.done >= ENOUGH
    wait_until(lambda: cluster.running() == 2, "the engine that replaces it", START_SECONDS)


def lose_device(replica: Any) -> None:
    """Whatever this process computes from now on ends as it does where a GPU has failed."""
    import torch

    def fail(*_: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    patch.object(torch.nn.GroupNorm, "forward", fail).start()


def test_an_engine_whose_device_fails_is_replaced_and_no_request_fails(cluster: Cluster) -> None:
    before = {process.pid for process in cluster.processes()}
    load = Load(cluster, 6, PICTURE)
    with load.running():
        wait_until(lambda: load.done >= 5, "the first answers")
        cluster.inside(lose_device)
        wait_until(
            lambda: len(before & {one.pid for one in cluster.processes()}) == 1,
            "the engine to end its process",
        )
        since = load.done
        wait_until(lambda: load.done >= since + 10, "answers without it")

    assert load.statuses == {200: load.done}, load.failures
    wait_until(
        lambda: cluster.running() == 2 and len(cluster.processes()) == 2,
        "the engine that replaces it",
        START_SECONDS,
    )


def test_no_request_fails_in_a_rolling_update(cluster: Cluster) -> None:
    before = {one.pid for one in cluster.processes()} | {
        one.pid for one in cluster.processes("ingress")
    }
    load = Load(cluster, 4, PICTURE)
    with load.running():
        wait_until(lambda: load.done >= 5, "the first answers")
        cluster.deploy({"SD_MAX_STEPS": "100"}, min_replicas=2, max_replicas=2)
        since = load.done
        wait_until(lambda: load.done >= max(ENOUGH, since + 10), "answers of the new ones")

    assert load.statuses == {200: load.done}, load.failures
    assert load.done >= ENOUGH
    wait_until(
        lambda: not before & {one.pid for one in cluster.processes()}, "the old engines to be gone"
    )
    refused = cluster.client.post("/txt2img", json={**PICTURE, "num_inference_steps": 101})
    assert refused.status_code == 422
