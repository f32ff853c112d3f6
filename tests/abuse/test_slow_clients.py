"""Clients that take their time: each costs a connection until its limit, and others nothing."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress

import pytest

from tests.abuse.raw_http import Connection, post_head
from tests.abuse.target import (
    BODY_IDLE,
    HEAD_SECONDS,
    KEEP_ALIVE_SECONDS,
    OTHER,
    PICTURE,
    SHORT,
    Target,
)
from tests.effort import effort, only_in_full
from tests.integration.server import wait_until

pytestmark = pytest.mark.slow

# Beyond the limit of time itself: a busy machine looks at its clocks late.
LATE = 10.0
MEGA = 1024 * 1024
FORM = "multipart/form-data; boundary=B"
GET = b"GET /models HTTP/1.1\r\nHost: 127.0.0.1\r\n"

# name -> what is sent at once, and the seconds after which the server gives up.
STALLED: dict[str, tuple[bytes, float]] = {
    "nothing": (b"", HEAD_SECONDS),
    "an-empty-line": (b"\r\n", HEAD_SECONDS),
    "half-a-line": (b"GET /mod", HEAD_SECONDS),
    "half-a-head": (GET, HEAD_SECONDS),
    "half-a-header": (GET + b"X-A: ", HEAD_SECONDS),
    "a-byte-at-a-time": (b"G", HEAD_SECONDS),
    "no-body": (post_head(100), BODY_IDLE),
    "half-a-body": (post_head(100) + b'{"prompt"', BODY_IDLE),
    "half-a-picture": (post_head(MEGA, "/img2img", FORM) + b"--B\r\n" + bytes(1000), BODY_IDLE),
    "half-a-classification": (post_head(MEGA, "/classify", FORM) + b"--B\r\n", BODY_IDLE),
    "half-a-chunk": (
        post_head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"5\r\nab",
        BODY_IDLE,
    ),
    "no-body-to-dreambooth": (post_head(100, "/dreambooth?prompt=x"), BODY_IDLE),
    "no-body-to-nowhere": (post_head(100, "/nowhere"), BODY_IDLE),
    "continue-and-no-body": (
        post_head(100).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
        BODY_IDLE,
    ),
    "idle-after-a-request": (GET + b"\r\n", KEEP_ALIVE_SECONDS),
    "idle-after-a-404": (GET.replace(b"/models", b"/nowhere") + b"\r\n", KEEP_ALIVE_SECONDS),
}


def test_who_stalls_is_given_up(victim: Target) -> None:
    """All of them at once, each within its own limit; one head goes on and on, and its limit is for
    all of it."""
    with ExitStack() as stack:
        started = time.monotonic()
        open_ones: dict[str, Connection] = {}
        for name, (data, _) in STALLED.items():
            open_ones[name] = stack.enter_context(Connection(victim.port))
            open_ones[name].send(data)
        limit = max(limit for _, limit in STALLED.values()) + LATE
        took: dict[str, float] = {}
        statuses: dict[str, list[int]] = {}
        while open_ones and time.monotonic() < started + limit:
            for name, connection in list(open_ones.items()):
                if name == "a-byte-at-a-time":
                    connection.send(b"G")
                replies = connection.replies(0.01, quiet=0.01)
                if connection.closed:
                    took[name] = time.monotonic() - started
                    statuses[name] = [reply.status for reply in replies]
                    del open_ones[name]

    assert not open_ones, f"never given up: {', '.join(open_ones)}"
    assert all(took[name] < limit + LATE for name, (_, limit) in STALLED.items()), took
    for name, found in statuses.items():
        if not name.startswith("idle"):
            assert set(found) <= {400, 404, 408}, (name, found)


@only_in_full
def test_a_body_that_comes_a_byte_at_a_time_is_given_up(victim: Target) -> None:
    """It is never idle; it is far slower than any network."""
    with Connection(victim.port) as connection:
        started = time.monotonic()
        connection.send(post_head(MEGA, "/img2img", FORM))
        while connection.send(b"-") and not connection.closed:
            connection.replies(0.5)
            assert time.monotonic() - started < 20 + LATE


def test_a_client_that_does_not_read_its_pictures(victim: Target) -> None:
    """What it does not read is not made for it without end, and others go on."""
    request = GET.replace(b"/models", b"/docs.json") + b"\r\n"
    with ExitStack() as stack:
        for _ in range(effort(8, 20)):
            connection = stack.enter_context(Connection(victim.port, OTHER))
            connection.send(request * 200)
        for _ in range(5):
            assert victim.post(SHORT).status_code == 200


def test_300_slow_heads(victim: Target) -> None:
    with ExitStack() as stack:
        for _ in range(effort(300, 900)):
            stack.enter_context(Connection(victim.port, OTHER)).send(GET)
        assert victim.server.client.get("/livez").status_code == 200
        assert victim.post(SHORT).status_code == 200


def test_one_client_s_busy_connections_leave_room_for_others(victim: Target) -> None:
    """As many as there may be at once and more, each of them with a request under way."""
    with ExitStack() as stack:
        for _ in range(1050):
            connection = stack.enter_context(Connection(victim.port, OTHER))
            connection.send(post_head(100) + b"{")
        with victim.client() as client:
            assert client.get("/livez").status_code == 200
        assert victim.post(SHORT).status_code == 200


@pytest.mark.parametrize("source", [pytest.param("one-client", marks=only_in_full), "many-clients"])
def test_500_unfinished_uploads_cost_little_memory(victim: Target, source: str) -> None:
    """Of 12 MB each, were they let in; 500 MB are sent."""
    before = victim.resident()["API"]
    peak = before
    with ExitStack() as stack:
        uploads = []
        for number in range(500):
            address = (
                OTHER if source == "one-client" else f"127.0.{1 + number // 250}.{2 + number % 250}"
            )
            upload = socket.create_connection(
                ("127.0.0.1", victim.port), source_address=(address, 0)
            )
            stack.callback(upload.close)
            upload.sendall(post_head(12_000_000, "/img2img", FORM))
            upload.setblocking(False)
            uploads.append(upload)
        for _ in range(16):
            for upload in uploads:
                _send_some(upload, bytes(MEGA // 16))
            peak = max(peak, victim.resident()["API"])
        victim.assert_alive()
        assert victim.post(SHORT).status_code == 200
        peak = max(peak, victim.resident()["API"])

    assert peak - before < 300 * MEGA


def test_a_small_upload_beside_unfinished_ones(victim: Target) -> None:
    """One client cannot use up the memory for bodies that others need as well."""
    with ExitStack() as stack:
        for _ in range(50):
            connection = stack.enter_context(Connection(victim.port, OTHER))
            connection.send(post_head(12_000_000, "/img2img", FORM) + bytes(1000))
        assert victim.post_picture(PICTURE).status_code == 200


def test_uploads_that_do_not_fit_are_refused_with_a_time_to_come_again(victim: Target) -> None:
    """Before they are read, and it is only for as long as the others take."""
    with ExitStack() as stack:
        connections = [
            stack.enter_context(Connection(victim.port, OTHER)) for _ in range(effort(100, 400))
        ]
        for connection in connections:
            connection.send(post_head(12_000_000, "/img2img", FORM))
        refused = [
            reply for connection in connections for reply in connection.replies(0.05, quiet=0.05)
        ]
        assert refused
        for reply in refused:
            assert reply.status == 429
            assert int(reply.headers["Retry-After"]) >= 1
            assert reply.json()["error"]["code"] == "busy"
    wait_until(
        lambda: victim.post_picture(PICTURE, source=OTHER).status_code == 200,
        "room for another upload",
    )


def _send_some(upload: socket.socket, data: bytes) -> None:
    """As much as goes; whoever was refused is not interested in more."""
    with suppress(BlockingIOError, ConnectionError):
        upload.send(data)
