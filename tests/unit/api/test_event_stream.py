"""The event stream: when events are sent, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, MutableMapping
from typing import Any

import pytest
from starlette.requests import Request

from api import request_id
from api.drain import Drain, DrainGate
from contract.events import Event, Queued
from contract.request import GenerationRequest
from settings import Settings
from tests.unit.api.conftest import ColourBackend, handler_of, native_protocols
from tests.unit.api.sse import ACCEPT, names, parse

Message = MutableMapping[str, Any]


class Visit:
    """A streamed request straight at the façade, whose client sees each message as it comes.

    Args:
        backend: makes the pictures.
        settings: the limits.
        drain: what the request is in flight of.
    """

    def __init__(self, backend: Any, settings: Settings, drain: Drain | None = None) -> None:
        self._protocols = native_protocols(backend, settings)
        self._drain = drain or Drain()
        self._left = asyncio.Event()
        self._asked = False
        self._news = asyncio.Condition()
        self.messages: list[Message] = []
        self.task = asyncio.create_task(self._run())

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.messages).decode()

    @property
    def complete(self) -> bool:
        return self.messages[-1].get("more_body", True) is False

    async def until(self, condition: Callable[[], bool]) -> None:
        async with self._news:
            await self._news.wait_for(condition)

    def leave(self) -> None:
        self._left.set()

    async def _run(self) -> None:
        fields = {"Content-Type": "application/json", **ACCEPT}
        headers = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
        scope = {"type": "http", "method": "POST", "path": "/txt2img", "headers": headers}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            response = await handler_of(self._protocols, "txt2img")(Request(scope, receive))
            await response(scope, receive, send)

        await DrainGate(app, self._drain, self._protocols)(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b'{"prompt": "x"}'}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        async with self._news:
            self.messages.append(message)
            self._news.notify_all()


def test_a_backend_that_breaks_off_is_an_error(settings: Settings) -> None:
    class Broken(ColourBackend):
        async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
            yield Queued(0)

    async def run() -> str:
        visit = Visit(Broken(), settings)
        await visit.task
        assert visit.complete
        return visit.text

    assert names(asyncio.run(run())) == ["queued", "error"]


def test_each_event_is_sent_at_once(settings: Settings) -> None:
    async def run() -> None:
        backend = ColourBackend()
        backend.hold = asyncio.Event()
        visit = Visit(backend, settings)
        await visit.until(lambda: "queued" in visit.text)
        assert names(visit.text) == ["queued"]
        backend.hold.set()
        await visit.task
        assert names(visit.text)[-1] == "image"
        assert visit.complete

    asyncio.run(run())


def test_comments_keep_a_waiting_connection_alive(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.event_stream.KEEP_ALIVE_SECONDS", 0.001)

    async def run() -> str:
        backend = ColourBackend()
        backend.hold = asyncio.Event()
        visit = Visit(backend, settings)
        await visit.until(lambda: visit.text.count("\n:") >= 3)
        backend.hold.set()
        await visit.task
        assert backend.cancelled == 0
        return visit.text

    found = names(asyncio.run(run()))
    assert found[:4] == ["queued", ":", ":", ":"]
    assert found[-1] == "image"


def test_a_client_that_leaves_cancels_its_jobs(settings: Settings) -> None:
    async def run() -> None:
        backend = ColourBackend()
        backend.hold = asyncio.Event()
        visit = Visit(backend, settings)
        await visit.until(lambda: "queued" in visit.text)
        visit.leave()
        await visit.task
        assert backend.cancelled == 1
        # Complete for what counts and measures requests on the way.
        assert visit.complete

    asyncio.run(run())


def test_a_drain_waits_for_streams(settings: Settings) -> None:
    async def run() -> None:
        backend, drain = ColourBackend(), Drain()
        backend.hold = asyncio.Event()
        visit = Visit(backend, settings, drain)
        await visit.until(lambda: "queued" in visit.text)
        drain.start()
        finishing = asyncio.create_task(drain.finish(60))
        await asyncio.sleep(0)
        assert not finishing.done()
        backend.hold.set()
        await finishing
        await visit.task
        assert names(visit.text)[-1] == "image"

    asyncio.run(run())


def test_a_stream_that_a_drain_cuts_off_says_so(settings: Settings) -> None:
    async def run() -> None:
        backend, drain = ColourBackend(), Drain()
        backend.hold = asyncio.Event()
        visit = Visit(backend, settings, drain)
        await visit.until(lambda: "queued" in visit.text)
        drain.start()
        await drain.finish(0)
        await visit.task
        assert backend.cancelled == 1
        *_, (name, data) = parse(visit.text)
        assert (name, data["error"]["code"]) == ("error", "not_ready")
        assert data["error"]["request_id"] == request_id.current.get()
        assert visit.complete

    asyncio.run(run())
