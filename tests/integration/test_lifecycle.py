"""The BentoML host when clients leave, too much comes in, the runner dies, and it is stopped.

The tests share a small server and run in order: the last one stops it.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from tests.integration.clients import ENDLESS, LONG, SHORT, Visitor, post
from tests.integration.server import WAIT_SECONDS, Server, serving, wait_until

QUEUE = 2


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with room for two jobs."""
    folder = tmp_path_factory.mktemp("small")
    with serving(
        folder,
        SD_MAX_QUEUE=str(QUEUE),
        SD_MAX_QUEUE_PER_CLIENT=str(QUEUE),
        SD_MAX_IMAGES="1",
        SD_LOG_FORMAT="json",
    ) as server:
        yield server


def test_a_client_that_leaves_cancels_its_job(small: Server) -> None:
    before = small.metric("sd_jobs_total", outcome="cancelled")
    visitor = Visitor(small, ENDLESS)
    visitor.ask()
    wait_until(small.running, "the job to run")
    visitor.leave()

    wait_until(
        lambda: small.metric("sd_jobs_total", outcome="cancelled") == before + 1,
        "the job to be cancelled",
    )
    wait_until(lambda: not small.running(), "the engine to be idle")
    assert post(small, SHORT).status_code == 200


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
    assert 1 <= int(response.headers["retry-after"]) <= 120
    wait_until(lambda: post(small, SHORT).status_code == 200, "room in the queue")


def test_a_killed_runner_fails_its_jobs_at_once_and_comes_back(small: Server) -> None:
    with ThreadPoolExecutor() as pool:
        doomed: Future[httpx.Response] = pool.submit(post, small, ENDLESS)
        wait_until(small.running, "the job to run")
        runner = small.runner()
        killed = time.monotonic()
        runner.kill()
        response = doomed.result(WAIT_SECONDS)

    # Far below the time that the runner needs to come back.
    assert time.monotonic() - killed < 5
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "not_ready"
    assert int(response.headers["retry-after"]) >= 1

    wait_until(lambda: small.ready() and small.runner().pid != runner.pid, "the next runner")
    assert post(small, SHORT).status_code == 200


def test_json_log_lines(small: Server) -> None:
    records = [
        json.loads(line)
        for line in small.log.read_text().splitlines()
        if line.startswith("{")  # libraries draw progress bars while the model loads
    ]

    assert {"bentoml.access", "engine.engine"} <= {record["logger"] for record in records}
    about_jobs = [record for record in records if record["logger"] == "engine.engine"]
    assert all(record["request_id"] != "-" for record in about_jobs)


def test_sigterm_finishes_the_work_in_flight(small: Server) -> None:
    with ThreadPoolExecutor() as pool:
        in_flight: Future[httpx.Response] = pool.submit(post, small, LONG)
        uploading = Visitor(small, SHORT)
        wait_until(small.running, "the job to run")
        small.process.send_signal(signal.SIGTERM)

        refused: list[httpx.Response] = []

        def refuses() -> bool:
            refused[:] = [post(small, SHORT)]
            return refused[0].status_code == 503

        wait_until(refuses, "new work to be refused")
        assert not in_flight.done()
        assert refused[0].json()["error"]["code"] == "not_ready"
        assert int(refused[0].headers["retry-after"]) >= 1
        assert httpx.get(f"{small.url}/readyz").status_code == 503
        assert httpx.get(f"{small.url}/livez").status_code == 200

        # What had not reached the engine has to come again, and is told so at once.
        assert uploading.status() == 503
        uploading.leave()

        response = in_flight.result(WAIT_SECONDS)
        assert response.status_code == 200
        assert response.content.startswith(b"\x89PNG")
    assert small.process.wait(WAIT_SECONDS) == 0
