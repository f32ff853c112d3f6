"""Server-sent events: what is sent, when, and what ends it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable, MutableMapping
from io import BytesIO
from typing import Any

import PIL.Image
import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from api import request_id
from api.drain import Drain, DrainGate
from contract.errors import ErrorCode
from contract.events import Event, Failed, Queued
from contract.request import GenerationRequest
from settings import Settings
from tests import uploads
from tests.unit.api.conftest import PREVIEW, ColourBackend, handler_of, native_protocols

ACCEPT = {"Accept": "text/event-stream"}
Message = MutableMapping[str, Any]


def parse(text: str) -> list[tuple[str, Any]]:
    """The events of a stream; comments are events named ``:``."""
    assert text.endswith("\n\n")
    events: list[tuple[str, Any]] = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        if block.startswith(":"):
            events.append((":", None))
            continue
        name, data = block.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def names(text: str) -> list[str]:
    return [name for name, _ in parse(text)]


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
        headers = [(name.lower().encode(), value.encode()) for name, value in ACCEPT.items()]
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


def test_from_the_queue_to_the_picture(client: TestClient, backend: ColourBackend) -> None:
    body = {"prompt": "x", "seed": 7, "width": 64, "height": 72}
    response = client.post("/txt2img", json=body, headers=ACCEPT)

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-seed"] == "7"
    assert response.headers["x-model"] == "tiny"
    assert "content-length" not in response.headers
    *running, (last, image) = parse(response.text)
    assert running == [
        ("queued", {"position": 0}),
        ("progress", {"index": 0, "step": 1, "total": 2}),
        ("progress", {"index": 0, "step": 2, "total": 2}),
    ]
    assert last == "image"
    assert PIL.Image.open(BytesIO(base64.b64decode(image.pop("data")))).size == (64, 72)
    assert image == {
        "index": 0,
        "media_type": "image/png",
        "width": 64,
        "height": 72,
        "seed": 7,
        "prompt": "x",
        "warnings": [],
        "screening": [],
    }
    assert backend.requests[0].wants_progress
    assert not backend.requests[0].wants_previews


@pytest.mark.parametrize("path", ["/img2img", "/inpaint"])
def test_pictures_from_pictures_have_streams_too(client: TestClient, path: str) -> None:
    picture = uploads.encode(uploads.red_and_blue())
    files: dict[str, Any] = {"img": picture, "data": '{"prompt": "x"}'}
    if path == "/inpaint":
        files["mask"] = picture
    response = client.post(path, files=files, headers=ACCEPT)

    assert names(response.text) == ["queued", "progress", "progress", "image"]


def test_several_pictures_come_as_they_are_done(client: TestClient, backend: ColourBackend) -> None:
    backend.warnings = ("'é' was dropped",)
    backend.screening = ("blank",)
    body = {"prompt": "x", "seed": 7, "num_images": 3}
    response = client.post("/txt2img", json=body, headers=ACCEPT)

    images = [data for name, data in parse(response.text) if name == "image"]
    assert [(image["index"], image["seed"]) for image in images] == [(2, 9), (1, 8), (0, 7)]
    assert all(image["warnings"] == ["'é' was dropped"] for image in images)
    assert all(image["screening"] == ["blank"] for image in images)


def test_previews_where_they_are_wanted(client: TestClient, backend: ColourBackend) -> None:
    body = {"prompt": "x", "previews": True}
    response = client.post("/txt2img", json=body, headers=ACCEPT)

    previews = [data["preview"] for name, data in parse(response.text) if name == "progress"]
    assert [base64.b64decode(preview) for preview in previews] == [PREVIEW, PREVIEW]
    assert backend.requests[0].wants_previews


def test_what_is_refused_gets_an_answer_of_its_own(
    client: TestClient, backend: ColourBackend
) -> None:
    invalid = client.post("/txt2img", json={"prompt": "x", "width": 1}, headers=ACCEPT)
    backend.failure = Failed(ErrorCode.BUSY, "the queue is full", retry_after=7)
    backend.refused = True
    busy = client.post("/txt2img", json={"prompt": "x"}, headers=ACCEPT)

    assert (invalid.status_code, busy.status_code) == (422, 429)
    assert busy.headers["retry-after"] == "7"
    for response in (invalid, busy):
        assert response.headers["content-type"] == "application/json"
        assert response.json()["error"]["request_id"] == response.headers["x-request-id"]


def test_what_fails_later_says_so_in_the_stream(client: TestClient, backend: ColourBackend) -> None:
    backend.failure = Failed(ErrorCode.DEADLINE_EXCEEDED, "too late")
    response = client.post("/txt2img", json={"prompt": "x"}, headers=ACCEPT)

    assert response.status_code == 200
    *_, (name, data) = parse(response.text)
    assert name == "error"
    assert data["error"] == {
        "code": "deadline_exceeded",
        "message": "too late",
        "request_id": response.headers["x-request-id"],
    }


@pytest.mark.parametrize(
    "failure", [ValueError("a secret"), Failed(ErrorCode.INTERNAL, "a secret")]
)
def test_our_own_faults_stay_inside(
    client: TestClient,
    backend: ColourBackend,
    failure: Failed | Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend.failure = failure
    response = client.post("/txt2img", json={"prompt": "x"}, headers=ACCEPT)

    *_, (name, data) = parse(response.text)
    assert (name, data["error"]["code"]) == ("error", "internal")
    assert "a secret" not in response.text
    assert "a secret" in caplog.text


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
