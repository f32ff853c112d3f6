"""What a body may be, and how it may come; the bounds are those of the native endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from api import body_limits
from api.body_limits import BodyLimits
from api.middleware import RequestIdentity
from settings import Settings
from tests.unit.api.conftest import ColourBackend, ShadeClassifier, native_protocols

SETTINGS = Settings(max_json_bytes=2000, max_body_bytes=3000)
PROTOCOLS = native_protocols(ColourBackend(), SETTINGS, ShadeClassifier())
BOUNDS = {
    "/txt2img": 2000,
    "/img2img": 3000,
    "/inpaint": 3000,
    "/classify": 3000,
    "/dreambooth": 1024,
    "/imagine": 1024,
    "/models": 1024,
    "/elsewhere": 2000,
}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


async def never(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("must not be called")


def client_of(app: ASGIApp, settings: Settings = SETTINGS) -> TestClient:
    limited = RequestIdentity(BodyLimits(app, settings, PROTOCOLS), PROTOCOLS)
    return TestClient(limited, raise_server_exceptions=False)


def chunks(size: int) -> Iterator[bytes]:
    yield from (bytes(1) for _ in range(size))


@pytest.mark.parametrize(("path", "most"), BOUNDS.items())
def test_announced_and_actual_lengths_are_bounded_by_endpoint(path: str, most: int) -> None:
    client = client_of(echo)

    assert client.post(path, content=bytes(most)).text == str(most)
    assert client.post(path, content=chunks(most)).text == str(most)
    announced = client_of(never).post(path, content=bytes(most + 1))
    found_out = client.post(path, content=chunks(most + 1))
    for response, got in ((announced, str(most + 1)), (found_out, "more")):
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "payload_too_large"
        message = f"the body must be at most {most} bytes long, got {got}"
        assert response.json()["error"]["message"] == message


class SlowClient:
    """Sends a byte, so many times, with a pause before each, and no end."""

    def __init__(self, pause: float, times: int) -> None:
        self._pause = pause
        self._times = times

    async def receive(self) -> dict[str, Any]:
        if not self._times:
            await asyncio.Event().wait()
        await asyncio.sleep(self._pause)
        self._times -= 1
        return {"type": "http.request", "body": b"x", "more_body": True}


def upload(client: SlowClient, app: ASGIApp = echo, **options: Any) -> list[Any]:
    """The messages of the response to an upload."""
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def run() -> None:
        limited = BodyLimits(app, Settings(**options), PROTOCOLS)
        scope = {"type": "http", "method": "POST", "path": "/img2img", "headers": []}
        async with asyncio.timeout(60):
            await RequestIdentity(limited, PROTOCOLS)(scope, client.receive, send)

    asyncio.run(run())
    return messages


def check(messages: list[Any], limit: str, received: int) -> None:
    start, body = messages[:2]
    assert start["status"] == 408
    assert dict(start["headers"])[b"connection"] == b"close"
    assert b'"code":"request_timeout"' in body["body"]
    assert f"the body must come {limit}; got {received} bytes of it".encode() in body["body"]


def test_a_body_that_stops_is_given_up() -> None:
    check(upload(SlowClient(0.01, 3), body_idle_seconds=0.2), "without a pause of 0.2 seconds", 3)


def test_empty_chunks_are_no_progress() -> None:
    class Chatty(SlowClient):
        async def receive(self) -> dict[str, Any]:
            await asyncio.sleep(0.01)
            return {"type": "http.request", "body": b"", "more_body": True}

    check(upload(Chatty(0, 0), body_idle_seconds=0.2), "without a pause of 0.2 seconds", 0)


def test_a_body_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_limits, "GRACE", 0.2)
    monkeypatch.setattr(body_limits, "FLOOR", 10**9)
    messages = upload(SlowClient(0.15, 10**6))

    check(messages, "at 1000000000 bytes a second or more on average", 1)


def test_a_body_must_come_before_the_deadline() -> None:
    messages = upload(SlowClient(0.15, 10**6), deadline=0.2)

    check(messages, "within 0.2 seconds", 1)


def test_time_limits_end_with_the_body() -> None:
    """Afterwards the client only listens."""

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        waiting = asyncio.ensure_future(receive())
        await asyncio.wait([waiting], timeout=0.3)
        assert not waiting.done()
        waiting.cancel()
        await PlainTextResponse("done")(scope, receive, send)

    class Quick(SlowClient):
        async def receive(self) -> dict[str, Any]:
            await super().receive()
            return {"type": "http.request", "body": b"x", "more_body": False}

    assert upload(Quick(0, 1), slow, body_idle_seconds=0.1)[0]["status"] == 200


def test_a_broken_limit_is_not_the_services_fault() -> None:
    assert client_of(never).post("/models", content=bytes(9000)).status_code == 413
