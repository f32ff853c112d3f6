"""The life of the local host: clients that leave, a full queue, and SIGTERM.

The tests share a small server and run in order: the last one stops it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.integration.clients import ENDLESS, LONG, SHORT, Visitor, change_models, post
from tests.integration.server import WAIT_SECONDS, Server, serving, wait_until

QUEUE = 2


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with room for two jobs."""
    folder = tmp_path_factory.mktemp("small")
    settings = {
        "SD_MAX_QUEUE": str(QUEUE),
        "SD_MAX_QUEUE_PER_CLIENT": str(QUEUE),
        "SD_MAX_IMAGES": "1",
        "SD_MODEL_CONTROL": "true",
        "SD_LOG_LEVEL": "DEBUG",
    }
    with serving(folder, host="local", **settings) as server:
        yield server


def test_it_is_one_process_beside_those_that_decode_pictures(small: Server) -> None:
    children = psutil.Process(small.process.pid).children(recursive=True)

    assert ["api.decoding.worker" in one.cmdline() for one in children] == [True, True]


def test_a_client_that_leaves_cancels_its_job(small: Server) -> None:
    visitor = Visitor(small, ENDLESS)
    visitor.ask()
    wait_until(small.running, "the job to run")
    visitor.leave()

    wait_until(
        lambda: small.metric("sd_jobs_total", outcome="cancelled") == 1, "the job to be cancelled"
    )


def test_a_full_queue_refuses_politely(small: Server) -> None:
    visitors = [Visitor(small, ENDLESS) for _ in range(QUEUE)]
    try:
        for visitor in visitors:
            visitor.ask()
        wait_until(lambda: small.metric("sd_queue_depth") == QUEUE, "a full queue")
        response = post(small, SHORT)
    finally:
        for visitor in visitors:
            visitor.leave()

    assert response.status_code == 429
    assert response.json()["error"]["code"] == "busy"
    wait_until(lambda: post(small, SHORT).status_code == 200, "room in the queue")


def test_a_model_is_unloaded_and_loaded_again(small: Server) -> None:
    change_models(small)


def test_no_line_has_a_prompt(small: Server) -> None:
    """Of requests that are served and refused, in each protocol, in URLs, and at any level."""
    prompt = {"prompt": "quincunx", "negative_prompt": "quincunx", "num_inference_steps": 1}
    inputs = {"inputs": [], "parameters": prompt}
    for changes, status in (({}, 200), ({"width": 65}, 422)):
        fields = prompt | changes
        asked = [
            post(small, fields),
            small.client.get("/dreambooth", params={"prompt": "quincunx", **changes}),
            small.client.post("/v1/models/embedded:predict", json={"instances": [fields]}),
            small.client.post("/v2/models/embedded/infer", json=inputs | {"parameters": fields}),
            small.client.post("/sdapi/v1/txt2img", json=fields | {"steps": 1}),
        ]
        assert status in {response.status_code for response in asked}
    log = small.log.read_text()
    assert "GET /dreambooth HTTP" in log
    assert "quincunx" not in log


def test_sigterm_finishes_the_work_in_flight(small: Server) -> None:
    with ThreadPoolExecutor() as pool:
        in_flight: Future[httpx.Response] = pool.submit(post, small, LONG)
        wait_until(small.running, "the job to run")
        small.process.send_signal(signal.SIGTERM)

        refused: list[httpx.Response] = []

        def refuses() -> bool:
            refused[:] = [post(small, SHORT)]
            return refused[0].status_code == 503

        wait_until(refuses, "new work to be refused")
        assert not in_flight.done()
        assert refused[0].json()["error"]["code"] == "not_ready"
        assert httpx.get(f"{small.url}/readyz").status_code == 503
        assert httpx.get(f"{small.url}/livez").status_code == 200

        response = in_flight.result(WAIT_SECONDS)
        assert response.status_code == 200
        assert response.content.startswith(b"\x89PNG")
    assert small.process.wait(WAIT_SECONDS) == 0
