"""What a connection may do, over real sockets."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator

import pytest
import requests

from serving import protocol
from tests.unit.serving.host import HELLO, LARGE, WAIT, Host, answer, closed, error, running, until

UPLOAD = bytes(13 * 1024**2)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """With bounds that no test here meets."""
    with running() as host:
        yield host


@pytest.fixture(scope="module")
def hasty() -> Iterator[Host]:
    """With half a second for everything."""
    with running(head_seconds=0.5, keep_alive_seconds=0.5) as host:
        yield host


def test_a_connection_without_a_request_is_closed(hasty: Host) -> None:
    with hasty.connect() as client:
        assert closed(client)


def test_a_head_that_trickles_in_is_refused(hasty: Host) -> None:
    with hasty.connect() as client:
        client.sendall(b"GET /hello HTTP/1.1\r\nX: ")
        client.settimeout(0.1)
        for _ in range(300):
            try:
                client.sendall(b"a")
                client.recv(1, socket.MSG_PEEK)
                break
            except TimeoutError:
                pass
        client.settimeout(30)
        status, headers, body = answer(client)
        assert closed(client)

    assert status == 400
    assert headers["connection"] == "close"
    assert error(body)["message"] == "the request's head was not complete after 0.5 s"


def test_the_next_head_on_a_connection_has_as_long_as_the_first(hasty: Host) -> None:
    with hasty.connect() as client:
        client.sendall(HELLO + HELLO[:10])
        assert answer(client)[0] == 200
        assert answer(client)[0] == 400
        assert closed(client)


def test_an_idle_connection_is_closed(hasty: Host) -> None:
    with hasty.connect() as client:
        for _ in range(2):
            client.sendall(HELLO)
            assert answer(client)[0] == 200
        assert closed(client)


def test_a_request_takes_as_long_as_it_takes(hasty: Host) -> None:
    with hasty.connect() as client:
        client.sendall(WAIT)
        until(lambda: hasty.waiting, "the request")
        time.sleep(1.2)
        hasty.release()
        assert answer(client)[0] == 200


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (b"GARBAGE\r\n\r\n", "the request is not valid HTTP/1.1"),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", "the request is not valid HTTP/1.1"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "the request is not valid HTTP/1.1"),
        (b"GET / HTTP/1.1\r\n\r\n", "the request is not valid HTTP/1.1"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "the request is not valid HTTP/1.1",
        ),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000, "at most 32768 bytes"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", "at most 32768 bytes"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 100 + b"\r\n", "at most 100 headers"),
    ],
)
def test_what_the_parser_refuses_has_our_error_body(
    host: Host, request_: bytes, message: str
) -> None:
    status, headers, body = host.ask(request_)

    assert status == 400
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"
    assert error(body)["code"] == "invalid_request"
    assert message in error(body)["message"]
    assert error(body)["request_id"] == headers["x-request-id"]


def test_a_pipelined_head_is_bounded_as_well(host: Host) -> None:
    with host.connect() as client:
        client.sendall(HELLO + b"GET /hello HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n")
        assert answer(client)[0] == 200
        assert answer(client)[0] == 400


def test_a_hundred_headers_and_a_long_head_are_fine(host: Host) -> None:
    many = b"X: a\r\n" * 98 + b"Y: " + b"a" * 30_000 + b"\r\n"
    assert host.ask(b"GET /hello HTTP/1.1\r\nHost: x\r\n" + many + b"\r\n")[0] == 200


def test_a_body_that_turns_out_wrong_is_refused_and_its_request_told(host: Host) -> None:
    before = host.left
    head = b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, _, body = host.ask(head + b"1\r\na\r\nnonsense\r\n")

    assert (status, error(body)["code"]) == (400, "invalid_request")
    until(lambda: host.left == before + 1, "the request to end")


@pytest.mark.parametrize("path", ["/refuse", "/refuse?close"])
def test_a_response_before_the_body_was_read_reaches_its_client(host: Host, path: str) -> None:
    statuses = []
    for _ in range(20):
        client = http.client.HTTPConnection("127.0.0.1", host.port, timeout=30)
        client.request("POST", path, UPLOAD)
        statuses.append(client.getresponse().status)
        client.close()
    assert statuses == [413] * 20


def test_a_response_before_the_body_was_read_reaches_requests(host: Host) -> None:
    for path in ("refuse", "refuse?close"):
        response = requests.post(f"http://127.0.0.1:{host.port}/{path}", UPLOAD, timeout=30)
        assert response.status_code == 413


def test_a_body_that_was_not_wanted_is_skipped_and_the_connection_kept(host: Host) -> None:
    client = http.client.HTTPConnection("127.0.0.1", host.port, timeout=30)
    client.request("POST", "/refuse", UPLOAD)
    assert client.getresponse().read() == b"too large"
    before = client.sock
    client.request("GET", "/hello")
    assert client.getresponse().read() == b"hello"
    assert client.sock is before
    client.close()


def send_again_and_again(client: socket.socket, data: bytes, pause: float = 0.0) -> None:
    for _ in range(300):
        client.sendall(data)
        time.sleep(pause)


@pytest.mark.parametrize("path", [b"/refuse", b"/refuse?close"])
def test_a_body_that_was_not_wanted_is_not_read_for_ever(
    host: Host, monkeypatch: pytest.MonkeyPatch, path: bytes
) -> None:
    monkeypatch.setattr(protocol, "_LINGER_SECONDS", 0.3)
    with host.connect() as client:
        client.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        assert answer(client)[0] == 413
        client.settimeout(0.1)
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            send_again_and_again(client, b"a", pause=0.02)


def test_a_body_that_was_not_wanted_is_bounded(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_LINGER_BYTES", 1024**2)
    with host.connect() as client:
        client.sendall(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            send_again_and_again(client, UPLOAD)


def test_a_client_that_takes_nothing_of_its_response_is_given_up(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_STALL_SECONDS", 0.3)
    before = host.connections
    with host.connect() as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: host.connections == before + 1, "the connection")
        until(lambda: host.connections == before, "the connection to be closed")


def test_a_client_that_takes_its_response_slowly_gets_all_of_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_STALL_SECONDS", 1.0)
    monkeypatch.setattr(protocol, "_LINGER_SECONDS", 0.1)
    with host.connect() as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = 0
        while chunk := client.recv(1024**2):
            received += len(chunk)
            time.sleep(0.06)
    assert received > LARGE


def test_an_offer_of_http_2_is_declined(host: Host) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
    head = b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n" + offer + b"\r\n"
    status, _, body = host.ask(head + b"hello")
    assert (status, body) == (200, b"5")


def test_the_end_of_the_server_closes_idle_connections_and_finishes_requests() -> None:
    with running() as host, host.connect() as idle, host.connect() as busy:
        idle.sendall(HELLO)
        assert answer(idle)[0] == 200
        busy.sendall(WAIT)
        until(lambda: host.waiting, "the request")
        host._server.should_exit = True
        assert closed(idle)
        host.release()
        assert answer(busy)[0] == 200
        assert closed(busy)
