"""The site on Ray: the same pictures as on every other host, to the last byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.abuse.hostile_queries import wrong_replies
from tests.integration.clients import ENDLESS, SHORT, Visitor, post
from tests.integration.ray.cluster import Cluster
from tests.integration.server import Server, wait_until

QUEUE = 6
JSON = {"Accept": "application/json"}
APPLE: dict[str, Any] = {
    "prompt": "a red apple on a blue background",
    "num_inference_steps": 6,
    "seed": 42,
}


@pytest.fixture(scope="module", autouse=True)
def _deployed(cluster: Cluster) -> None:
    cluster.deploy({"SD_MAX_QUEUE": str(QUEUE), "SD_MAX_IMAGES": "2"})


@pytest.fixture(scope="module")
def photo_file() -> bytes:
    file = BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()


def txt2img(client: httpx.Client, _: bytes) -> httpx.Response:
    return client.post("/txt2img", json=APPLE)


def as_json(client: httpx.Client, _: bytes) -> httpx.Response:
    return client.post("/txt2img", json={**APPLE, "scheduler": "dpmpp_2m"}, headers=JSON)


def img2img(client: httpx.Client, photo: bytes) -> httpx.Response:
    data = json.dumps({**APPLE, "strength": 0.6})
    return client.post("/img2img", files={"img": photo}, data={"data": data})


def imagine(client: httpx.Client, _: bytes) -> httpx.Response:
    return client.get("/imagine", params={"prompt": "a green pear", "img_size": 64})


def classified(client: httpx.Client, photo: bytes) -> httpx.Response:
    return client.post("/classify", files={"img": photo})


def picture_files(response: httpx.Response) -> list[str]:
    """What was made, without what is random about a response."""
    assert response.status_code == 200, response.text
    if response.headers["content-type"] != "application/json":
        return [hashlib.sha256(response.content).hexdigest()]
    body = response.json()
    return [image["data"] for image in body.get("images", ())] or [body["predictions"]]


@pytest.mark.parametrize("ask", [txt2img, as_json, img2img, classified])
def test_pictures_are_those_of_the_other_hosts(
    cluster: Cluster,
    server: Server,
    bentoml_server: Server,
    photo_file: bytes,
    ask: Callable[[httpx.Client, bytes], httpx.Response],
) -> None:
    hosts = [cluster.client, server.client, bentoml_server.client]
    ours, local, bentoml = [picture_files(ask(client, photo_file)) for client in hosts]
    assert ours == local == bentoml


def test_the_tutorials_address(cluster: Cluster, photo_file: bytes) -> None:
    response = imagine(cluster.client, photo_file)
    assert response.headers["content-type"] == "image/png"
    assert Image.open(BytesIO(response.content)).size == (64, 64)
    assert cluster.client.get("/imagine", params={"img_size": 64}).status_code == 400
    refused = cluster.client.get("/imagine", params={"prompt": "x", "img_size": 63})
    assert refused.status_code == 422


def test_hostile_queries(cluster: Cluster) -> None:
    assert not wrong_replies(cluster.port)


def test_a_request_has_one_name(cluster: Cluster) -> None:
    named = cluster.client.post("/txt2img", json={}, headers={"X-Request-Id": "mine-1"})
    assert named.headers.get_list("x-request-id") == ["mine-1"]
    assert named.json()["error"]["request_id"] == "mine-1"

    unnamed = cluster.client.post("/txt2img", json={})
    assert unnamed.headers.get_list("x-request-id") == [unnamed.json()["error"]["request_id"]]


def test_progress_comes_as_it_is_made(cluster: Cluster) -> None:
    headers = {"Accept": "text/event-stream"}
    with cluster.client.stream("POST", "/txt2img", json=APPLE, headers=headers) as response:
        events = [line for line in response.iter_lines() if line.startswith("event:")]
    names = [event.removeprefix("event: ") for event in events]
    assert names[0] == "queued"
    assert names[-1] == "image"
    assert "progress" in names


def test_a_client_that_leaves_ends_the_work(cluster: Cluster) -> None:
    visitor = Visitor(cluster, {**ENDLESS, "num_images": 2})
    visitor.ask()
    wait_until(cluster.work_left, "the work to begin")
    visitor.leave()

    # Alone it would take minutes.
    wait_until(lambda: not cluster.work_left(), "the engine to be idle", 10)


def test_a_full_queue_refuses_politely(cluster: Cluster) -> None:
    visitors = [Visitor(cluster, ENDLESS) for _ in range(QUEUE)]
    try:
        with ThreadPoolExecutor(QUEUE) as pool:
            list(pool.map(lambda visitor: visitor.ask(), visitors))
        wait_until(lambda: post(cluster, SHORT).status_code == 429, "a full queue")
        response = post(cluster, SHORT)
    finally:
        for visitor in visitors:
            visitor.leave()

    assert response.status_code == 429
    assert response.json()["error"]["code"] == "busy"
    assert "SD_MAX_QUEUE" in response.json()["error"]["message"]
    assert 1 <= int(response.headers["retry-after"]) <= 120
    wait_until(lambda: post(cluster, SHORT).status_code == 200, "room in the queue")


def test_the_engines_measurements_are_metrics_of_the_cluster(cluster: Cluster) -> None:
    assert post(cluster, SHORT).status_code == 200
    expected = {
        "ray_sd_queue_depth",
        "ray_sd_jobs_total",
        "ray_sd_row_steps_total",
        "ray_sd_step_seconds_bucket",
        "ray_sd_step_batch_rows_sum",
        "ray_sd_job_phase_seconds_count",
        "ray_sd_model_resident",
        "ray_sd_resident_bytes",
    }
    wait_until(lambda: expected <= cluster.metrics(), "the measurements to be exported")


def test_what_an_engine_has_in_memory_is_known(cluster: Cluster) -> None:
    (stats,) = cluster.stats()
    assert stats["models"] == ["embedded"]
    assert stats["loras"] == []


def test_the_page_and_its_files(cluster: Cluster) -> None:
    for path in ("/", "/docs.json", "/static_content/swagger-ui.css", "/livez", "/healthz"):
        assert cluster.client.get(path).status_code == 200, path
    assert "/imagine" in cluster.client.get("/docs.json").json()["paths"]
