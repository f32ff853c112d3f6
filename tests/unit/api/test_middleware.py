from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from api import arrival, request_id
from api.body_limits import BodyLimits
from api.drain import Drain, DrainGate
from api.middleware import RequestIdentity
from settings import Settings
from tests.unit.api.conftest import ColourBackend, native_protocols

PROTOCOLS = native_protocols(ColourBackend(), Settings())

SCOPE: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": []}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    text = f"{len(body)} {request_id.current.get()}"
    await PlainTextResponse(text)(scope, receive, send)


def client_of(app: ASGIApp) -> TestClient:
    return TestClient(RequestIdentity(app, PROTOCOLS), raise_server_exceptions=False)


def test_a_valid_request_id_is_kept_and_seen_inside() -> None:
    response = client_of(echo).get("/", headers={"X-Request-Id": "a.B_9-"})

    assert response.headers["x-request-id"] == "a.B_9-"
    assert response.text == "0 a.B_9-"


@pytest.mark.parametrize("offered", [None, "", "a b", "é".encode(), "x" * 129, "a\tb", "<script>"])
def test_any_other_is_replaced(offered: Any) -> None:
    headers = {} if offered is None else {"X-Request-Id": offered}
    first, second = (
        client_of(echo).get("/", headers=headers).headers["x-request-id"] for _ in range(2)
    )

    assert len(first) == 32
    assert first != second


def test_stray_exceptions_become_internal_errors() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("a secret")

    response = client_of(broken).get("/")

    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal"
    assert "secret" not in response.text


def test_nothing_is_buffered() -> None:
    """Each chunk of a stream passes before the next one is made."""
    seen: list[str] = []

    async def stream() -> Any:
        for part in ("a", "b"):
            seen.append(f"made {part}")
            yield part

    async def run() -> None:
        async def send(message: Any) -> None:
            if message.get("body"):
                seen.append(f"sent {message['body'].decode()}")

        async def receive() -> Any:
            await asyncio.sleep(60)

        app = RequestIdentity(
            DrainGate(
                BodyLimits(StreamingResponse(stream()), Settings(), PROTOCOLS), Drain(), PROTOCOLS
            ),
            PROTOCOLS,
        )
        await app(dict(SCOPE), receive, send)

    asyncio.run(run())
    assert seen == ["made a", "sent a", "made b", "sent b"]


def test_the_arrival_is_known_in_worker_threads() -> None:
    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.02)
        seconds = await asyncio.to_thread(arrival.elapsed)
        await PlainTextResponse(str(seconds))(scope, receive, send)

    assert 0.02 <= float(client_of(late).get("/").text) < 10
    assert arrival.elapsed() == 0
