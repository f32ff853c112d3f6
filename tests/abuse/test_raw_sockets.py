"""Bytes that are hardly HTTP: refused in JSON or by closing, and never understood in two ways."""

from __future__ import annotations

import pytest

from tests.abuse import raw_requests
from tests.abuse.raw_http import Connection, Reply
from tests.abuse.raw_requests import CASES, CLOSED, PROMPT, REFUSED, SMUGGLED
from tests.abuse.target import Target

# What BentoML and uvicorn respond for themselves: files of the page, and a refused WebSocket.
_NOT_OURS = ("static-", "traversal", "upgrade-websocket")


def _exchange(port: int, data: bytes) -> tuple[list[Reply], bool]:
    with Connection(port) as connection:
        connection.send(data)
        return connection.replies(), connection.closed


def _check_error(reply: Reply) -> None:
    assert reply.headers["Content-Type"] == "application/json", reply
    assert set(reply.json()["error"]) <= {"code", "message", "field", "request_id"}


@pytest.mark.parametrize("name", CASES)
def test_one_request(victim: Target, name: str) -> None:
    data, expected = CASES[name]
    replies, closed = _exchange(victim.port, data)

    assert closed or replies, "neither a response nor a closed connection"
    assert len(replies) <= 1, "one request, two responses"
    status = replies[0].status if replies else CLOSED
    assert status in expected
    if status >= 400 and not name.startswith(_NOT_OURS):
        _check_error(replies[0])


@pytest.mark.parametrize("name", SMUGGLED)
def test_a_request_within_another_is_not_served(victim: Target, name: str) -> None:
    replies, closed = _exchange(victim.port, SMUGGLED[name])

    assert len(replies) <= 1
    assert {reply.status for reply in replies} <= REFUSED | {200}
    assert b"smuggled" not in b"".join(reply.body for reply in replies)
    # RFC 9112, 6.1: what announces its length in two ways is the last request of a connection.
    assert closed or b"Content-Length" not in SMUGGLED[name] or b"Transfer-" not in SMUGGLED[name]


def test_the_preface_of_http_2(victim: Target) -> None:
    replies, closed = _exchange(victim.port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

    assert closed
    assert {reply.status for reply in replies} <= REFUSED


def test_two_requests_at_once_are_answered_in_order(victim: Target) -> None:
    first = raw_requests.length(str(len(PROMPT)).encode())
    first = first.replace(b"Connection: close\r\n", b"")
    with Connection(victim.port) as connection:
        connection.send(first + raw_requests.get())
        replies = connection.replies(at_least=2)

    assert [(reply.status, reply.headers["Content-Type"]) for reply in replies] == [
        (200, "image/png"),
        (200, "application/json"),
    ]


def test_a_pipeline_of_1000_requests(victim: Target) -> None:
    request = raw_requests.get(line=b"GET /livez HTTP/1.1").replace(b"Connection: close\r\n", b"")
    with Connection(victim.port) as connection:
        connection.send(request * 1000)
        replies = connection.replies(at_least=1000)

    assert {reply.status for reply in replies} == {200}


def test_headers_without_an_end(victim: Target) -> None:
    """They are cut off, and do not fill the memory: of a quarter of a gigabyte nothing is kept."""
    before = victim.resident()["API"]
    with Connection(victim.port) as connection:
        connection.send(b"GET /models HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        lines = b"X-A: b\r\n" * 128 * 1024
        sent = 0
        while sent < 256 * 1024 * 1024 and connection.send(lines):
            sent += len(lines)
        replies = connection.replies()

    assert connection.closed
    assert {reply.status for reply in replies} <= REFUSED
    assert victim.resident()["API"] - before < 32 * 1024 * 1024


def test_an_address_of_the_service_never_leads_elsewhere(victim: Target) -> None:
    for path in ("/txt2img/", "/models/", "//evil.example/models", "/static_content"):
        replies, _ = _exchange(
            victim.port,
            f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".encode(),
        )
        assert "evil" not in replies[0].headers.get("Location", "")


@pytest.mark.parametrize("name", ["X-Request-Id", "Accept", "Origin", "Referer"])
def test_headers_come_back_as_text_or_not_at_all(victim: Target, name: str) -> None:
    forged = f"{name}: a\r\n Set-Cookie: stolen=1".encode()
    replies, _ = _exchange(victim.port, raw_requests.get(forged))

    assert all("Set-Cookie" not in reply.headers for reply in replies)


def test_unknown_paths_leave_nothing_in_the_metrics(victim: Target) -> None:
    """A path that a client makes up must not become a series that is kept for ever."""
    for path in ("/made-up", "/static_content/made-up", "/static_content/../made-up"):
        _exchange(victim.port, raw_requests.get(line=f"GET {path} HTTP/1.1".encode()))

    assert "made-up" not in victim.server.client.get("/metrics").text
