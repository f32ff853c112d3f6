"""SIGTERM while a picture takes longer than SD_DRAIN: its client is told, on the BentoML host.

The tests share a server and run in order: the last one stops it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from tests.effort import only_in_full
from tests.integration.clients import ENDLESS, SHORT, post
from tests.integration.server import WAIT_SECONDS, Server, serving, wait_until

pytestmark = only_in_full

DRAIN = 1.0


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("impatient")
    with serving(folder, SD_DRAIN=str(DRAIN), SD_CLASSIFIER="none") as server:
        yield server


def assert_not_ready(response: httpx.Response) -> None:
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "not_ready"
    assert int(response.headers["retry-after"]) >= 1


def test_a_runner_that_is_told_to_stop_tells_its_clients(impatient: Server) -> None:
    with ThreadPoolExecutor() as pool:
        doomed: Future[httpx.Response] = pool.submit(post, impatient, ENDLESS)
        wait_until(impatient.running, "the job to run")
        runner = impatient.runner()
        stopped = time.monotonic()
        runner.terminate()
        response = doomed.result(WAIT_SECONDS)

    assert time.monotonic() - stopped < DRAIN + 5
    assert_not_ready(response)
    assert "shut down before the picture was done" in response.json()["error"]["message"]
    runner.wait(WAIT_SECONDS)
    wait_until(
        lambda: impatient.ready() and impatient.runner().pid != runner.pid, "the next runner"
    )
    assert post(impatient, SHORT).status_code == 200


def test_so_does_the_service(impatient: Server) -> None:
    with ThreadPoolExecutor() as pool:
        doomed: Future[httpx.Response] = pool.submit(post, impatient, ENDLESS)
        wait_until(impatient.running, "the job to run")
        impatient.process.send_signal(signal.SIGTERM)
        assert_not_ready(doomed.result(WAIT_SECONDS))
    assert impatient.process.wait(WAIT_SECONDS) == 0
