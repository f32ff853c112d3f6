"""Processes that die, hang or are stopped, and too few descriptors.

The tests run in order, on a server of their own, which the last one stops.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import httpx
import psutil
import pytest

from tests.abuse.conftest import Start
from tests.abuse.raw_http import Connection, post_head
from tests.abuse.target import DRAIN, LONG, OTHER, PICTURE, SHORT, Target, at_once, decoded
from tests.effort import only_in_full
from tests.integration.server import WAIT_SECONDS, wait_until

pytestmark = pytest.mark.slow

IN_FLIGHT = 8


@pytest.fixture(scope="module")
def doomed(start: Start) -> Iterator[Target]:
    """A server that is to die part by part."""
    with start("doomed", SD_CLASSIFIER="none") as doomed:
        yield doomed


def test_more_idle_connections_than_the_soft_limit_of_files(doomed: Target) -> None:
    log = doomed.server.log.stat().st_size
    with ExitStack() as stack:
        for _ in range(1100):
            stack.enter_context(Connection(doomed.port, OTHER))
        for _ in range(5):
            with doomed.client() as client:
                assert client.get("/livez", timeout=20).status_code == 200
            assert doomed.post(SHORT).status_code == 200

    # A line for each of them would be fine; it was 290 MB a minute.
    assert doomed.server.log.stat().st_size - log < 1_000_000


def test_a_stopped_runner_loses_nothing(doomed: Target) -> None:
    """SIGSTOP and SIGCONT: the API goes on, and the jobs do afterwards."""
    runner = doomed.server.runner()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        waiting = [pool.submit(doomed.post, LONG) for _ in range(IN_FLIGHT)]
        wait_until(doomed.server.running, "jobs to run")
        runner.suspend()
        try:
            for path, status in (("/livez", 200), ("/models", 200), ("/readyz", 503)):
                with doomed.client() as client:
                    assert client.get(path, timeout=20).status_code == status
        finally:
            runner.resume()
        responses = [one.result(WAIT_SECONDS) for one in waiting]

    assert {response.status_code for response in responses} == {200}


@only_in_full
def test_a_killed_runner_is_replaced(doomed: Target) -> None:
    """Each of its requests is told at once to come again, and can."""
    runner = doomed.server.runner()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        waiting = [pool.submit(doomed.post, LONG) for _ in range(IN_FLIGHT)]
        wait_until(lambda: doomed.jobs() >= 2, "jobs in the queue")
        runner.kill()
        killed = time.monotonic()
        responses = [one.result(WAIT_SECONDS) for one in waiting]

    # The next runner needs longer than that.
    assert time.monotonic() - killed < 8
    for response in responses:
        assert response.status_code == 503, response.text
        assert int(response.headers["retry-after"]) >= 1
        assert response.json()["error"]["code"] == "not_ready"
    _wait_until_it_works_again(doomed)
    assert doomed.server.runner().pid != runner.pid


def test_killed_processes_of_the_api_are_replaced(doomed: Target) -> None:
    """Those that decode pictures, if there are any."""
    assert doomed.post_picture(PICTURE).status_code == 200
    for child in doomed.processes["API"].children(recursive=True):
        child.kill()
    statuses = {doomed.post_picture(PICTURE).status_code for _ in range(3)}

    assert statuses <= {200, 503}
    assert doomed.post_picture(PICTURE).status_code == 200


def test_a_killed_api_is_replaced(doomed: Target) -> None:
    """Its connections are gone with it; what it has asked of the runner is not made for nobody."""
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        waiting = [pool.submit(doomed.post, LONG) for _ in range(IN_FLIGHT)]
        wait_until(lambda: doomed.jobs() >= 2, "jobs in the queue")
        doomed.processes["API"].kill()
        assert all(isinstance(one.exception(WAIT_SECONDS), httpx.TransportError) for one in waiting)
    _wait_until_it_works_again(doomed)
    wait_until(lambda: not doomed.jobs(), "an empty queue", 30)


def test_a_stop_under_load(doomed: Target) -> None:
    """All that was accepted is finished; who has only begun to ask does not hold it up."""
    processes = [doomed.server.process.pid]
    supervisor = psutil.Process(doomed.server.process.pid)
    processes += [child.pid for child in supervisor.children(recursive=True)]
    with ExitStack() as stack, ThreadPoolExecutor(IN_FLIGHT) as pool:
        stalled = [
            b"",
            b"POST /txt2img HT",
            post_head(100) + b'{"prompt',
            post_head(10_000_000, "/img2img", "multipart/form-data; boundary=B") + b"--B\r\n",
        ]
        for data in stalled:
            stack.enter_context(Connection(doomed.port, OTHER)).send(data)
        waiting = [pool.submit(doomed.post, LONG) for _ in range(IN_FLIGHT)]
        wait_until(lambda: doomed.jobs() == IN_FLIGHT, "all jobs in the queue")
        doomed.server.process.send_signal(signal.SIGTERM)
        signalled = time.monotonic()
        responses = [one.result(WAIT_SECONDS) for one in waiting]

        for response in responses:
            assert response.status_code == 200
            decoded(response.content)
        assert doomed.server.process.wait(WAIT_SECONDS) == 0
    assert time.monotonic() - signalled < DRAIN / 3
    assert not [pid for pid in processes if psutil.pid_exists(pid)]


def _wait_until_it_works_again(doomed: Target) -> None:
    """Meanwhile there are no connections, or there is a 503 that says when to come again."""

    def works() -> bool:
        try:
            response = doomed.post(SHORT)
        except httpx.TransportError:
            return False
        assert response.status_code in {200, 503}, response.text
        if response.status_code == 503:
            assert int(response.headers["retry-after"]) >= 1
        return response.status_code == 200

    wait_until(works, "a picture")
    wait_until(doomed.server.ready, "a server that is ready")
    assert {one.status_code for one in at_once([partial(doomed.post, SHORT)] * 4)} == {200}
