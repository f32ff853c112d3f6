"""BentoML's own application, asked for something: what it has kept when the request is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import bentoml
import pytest
from bentoml._internal.server.base_app import BaseAppFactory
from bentoml._internal.server.http_app import HTTPAppFactory
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import request_timers


async def respond(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})


async def say_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """As where a client has left."""


async def fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise ZeroDivisionError


@pytest.fixture
def make_app(monkeypatch: pytest.MonkeyPatch) -> Callable[[ASGIApp], ASGIApp]:
    # Restored after the test.
    monkeypatch.setattr(BaseAppFactory, "__init__", BaseAppFactory.__init__)
    request_timers.leave_out()

    def make(mounted: ASGIApp) -> ASGIApp:
        service = bentoml.legacy.Service("test")
        service.mount_asgi_app(mounted)
        app: ASGIApp = HTTPAppFactory(service, enable_metrics=False)()
        return app

    return make


async def ask(app: ASGIApp) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        # What BentoML's access log has, where some other test has switched it on.
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "method": "GET",
        "path": "/mounted",
        "headers": [],
        "query_string": b"",
    }
    await asyncio.wait_for(app({**scope, "root_path": ""}, receive, send), 10)
    return sent


def timers() -> int:
    """Timers of the running event loop that wait."""
    scheduled: list[asyncio.TimerHandle] = vars(asyncio.get_running_loop())["_scheduled"]
    return sum(not timer.cancelled() for timer in scheduled)


def test_a_request_leaves_no_timer(make_app: Callable[[ASGIApp], ASGIApp]) -> None:
    app = make_app(respond)

    async def several() -> int:
        before = timers()
        for _ in range(3):
            assert (await ask(app))[0]["status"] == 200
        return timers() - before

    assert asyncio.run(several()) == 0


def test_a_request_ends_without_a_response(make_app: Callable[[ASGIApp], ASGIApp]) -> None:
    assert asyncio.run(ask(make_app(say_nothing))) == []


def test_an_error_comes_through_at_once(make_app: Callable[[ASGIApp], ASGIApp]) -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(ask(make_app(fail)))
