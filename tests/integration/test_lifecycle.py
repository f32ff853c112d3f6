"""The life of the BentoML host, in a small place: its port and connections, a full disk,
clients that leave, too many of them, a dead runner, and SIGTERM.

The tests share a small server and run in order: the last one stops it.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.integration.clients import ENDLESS, LONG, SHORT, Visitor, post
from tests.integration.server import WAIT_SECONDS, Server, serving, wait_until

# Everything that the server may write to, its share of the memory included, and 256 open files.
SMALL_PLACE = (
    *("unshare", "--mount", "sh", "-c"),
    "mount -t tmpfs -o size=24m tmpfs /dev/shm && mkdir /dev/shm/home /dev/shm/tmp"
    ' && ulimit -S -n 256 && exec "$@"',
    "sh",
)
CONNECTIONS = 64
QUEUE = 2


@cache
def _has_small_place() -> bool:
    try:
        return subprocess.run([*SMALL_PLACE, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with room for two jobs, in the small place where one can be made."""
    place: dict[str, Any] = {}
    if _has_small_place():
        place = {
            "wrapper": SMALL_PLACE,
            "home": Path("/dev/shm/home"),
            "TMPDIR": "/dev/shm/tmp",
        }
    with serving(
        tmp_path_factory.mktemp("small"),
        **place,
        SD_CLASSIFIER="none",
        SD_LOG_FORMAT="json",
        SD_MAX_CONNECTIONS=str(CONNECTIONS),
        SD_MAX_QUEUE=str(QUEUE),
        SD_MAX_QUEUE_PER_CLIENT=str(QUEUE),
        SD_MAX_IMAGES="1",
    ) as server:
        yield server


def test_the_processes_listen_on_one_port(small: Server) -> None:
    ports = {
        connection.laddr.port
        for process in small.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM
    }
    assert ports == {small.port}


def test_idle_connections_keep_nobody_out(small: Server) -> None:
    with ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(socket.create_connection(("127.0.0.1", small.port)))
        assert post(small, SHORT).status_code == 200
        (api,) = (one for one in small.processes() if "http_api_server" in str(one.cmdline()))
        # Those of the runners' sockets and of the listening one are no clients'.
        assert sum(one.status == "ESTABLISHED" for one in api.net_connections("tcp")) <= CONNECTIONS
    assert small.log.read_text().count("all places for connections are taken") == 1


def test_what_is_no_request_is_refused_in_our_words(small: Server) -> None:
    with socket.create_connection(("127.0.0.1", small.port)) as client:
        client.sendall(b"NONSENSE\r\n\r\n")
        received = b""
        while chunk := client.recv(4096):
            received += chunk
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"invalid_request"' in received


def test_pictures_need_no_disk(small: Server) -> None:
    if not _has_small_place():
        pytest.skip("a disk cannot be mounted")
    processes = small.processes()
    disk = Path(f"/proc/{small.process.pid}/root/dev/shm")
    assert {"home", "tmp"} < {path.name for path in disk.iterdir()}
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    with pytest.raises(OSError, match="No space left"):
        (disk / "tmp" / "more").write_bytes(bytes(4096))

    for round_ in range(3):
        assert post(small, SHORT).status_code == 200
        wrong = small.client.post("/txt2img", json={"prompt": "a", "width": 65 + round_})
        assert wrong.status_code == 422
        assert small.client.get("/metrics").status_code == 200
        assert small.client.get("/livez").status_code == 200
    assert small.processes() == processes
    (disk / "filler").unlink()


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
