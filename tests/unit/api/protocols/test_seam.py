"""A second protocol beside the native one: it renders every error of its paths."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from api.app import middleware
from api.drain import Drain
from api.pictures import Pictures
from api.protocols.base import Protocols
from api.protocols.native.protocol import NativeProtocol
from contract.errors import ErrorCode, RequestError
from contract.events import Failed
from settings import Settings
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.protocols.poster import PosterProtocol


@pytest.fixture
def protocols(backend: ColourBackend, settings: Settings) -> Protocols:
    pictures = Pictures(backend, settings)
    return Protocols([NativeProtocol(pictures, settings), PosterProtocol(pictures)])


@pytest.fixture
def settings() -> Settings:
    return Settings(max_body_bytes=4096)


def make(client: TestClient, text: str) -> httpx2.Response:
    return client.post("/poster/make", content=text)


def test_it_makes_pictures(client: TestClient, backend: ColourBackend) -> None:
    response = make(client, "text=a pear\nsize=72")

    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    request = backend.requests[0]
    assert (request.prompt, request.width, request.height) == ("a pear", 72, 72)
    assert request.request_id == response.headers["x-request-id"]


def test_it_is_documented_beside_the_native_one(client: TestClient) -> None:
    document = client.get("/docs.json").json()

    assert {"/poster/make", "/poster/watch", "/txt2img"} <= set(document["paths"])
    assert document["paths"]["/poster/make"]["post"]["operationId"] == "poster_make"
    assert {"Poster", "Txt2ImgBody"} <= set(document["components"]["schemas"])


@pytest.mark.parametrize(
    ("text", "status", "field", "message"),
    [
        ("text=x\ncolour=red", 400, None, "no such key: colour"),
        ("text=x\nsize=1", 422, "size", "size must be at least 64 and at most 2048, got 1"),
        ("text=x\nsize=100", 422, "size", "size must be a multiple of 8, got 100"),
        (
            "text=x\nsize=2048",
            422,
            "size",
            "size x size must be at most 2400000 pixels, got 2048 x 2048",
        ),
        ("text=" + "x" * 2001, 422, "text", "text must be at most 2000 characters long, got 2001"),
        ("text=x\nengine=v8", 404, "engine", 'engine must be auto or one of tiny, got "v8"'),
        (
            "text=x\nstyle=felt",
            404,
            "styles.0.name",
            'styles.0.name must be a LoRA of tiny, which are none; got "felt"',
        ),
    ],
)
def test_mistakes_are_told_in_its_own_names(
    client: TestClient, text: str, status: int, field: str | None, message: str
) -> None:
    response = make(client, text)

    assert response.status_code == status
    assert response.json() == {"problem": message, "at": field}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/poster/make", 405), ("POST", "/poster/nothing", 404)],
)
def test_what_starlette_refuses(client: TestClient, method: str, path: str, status: int) -> None:
    response = client.request(method, path)

    assert response.status_code == status
    assert set(response.json()) == {"problem", "at"}
    assert ("allow" in response.headers) is (status == 405)


def test_bodies_that_are_too_large(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        yield from (b"text=" + bytes(1000) for _ in range(5))

    announced = make(client, "text=" + "x" * 5000)
    found_out = client.post("/poster/make", content=chunks())

    for response in (announced, found_out):
        assert response.status_code == 413
        assert "4096 bytes" in response.json()["problem"]


def test_failures_of_the_backend(client: TestClient, backend: ColourBackend) -> None:
    backend.failure = Failed(ErrorCode.BUSY, "the queue is full", retry_after=7)
    busy = make(client, "text=x")
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "7")
    assert busy.json() == {"problem": "the queue is full", "at": None}

    backend.failure = Failed(ErrorCode.INVALID_REQUEST, "no previews", field="prompt")
    assert make(client, "text=x").json()["at"] == "text"

    backend.failure = ValueError("a secret")
    broken = make(client, "text=x")
    assert broken.status_code == 500
    assert broken.json() == {"problem": "our fault", "at": None}


@pytest.mark.parametrize(
    ("error", "status", "problem", "code"),
    [
        (ValueError("a secret"), 500, "our fault", "internal"),
        (RequestError(ErrorCode.UNAUTHORIZED, "no key"), 401, "no key", "unauthorized"),
    ],
)
def test_errors_outside_of_the_endpoints(
    settings: Settings,
    protocols: Protocols,
    error: Exception,
    status: int,
    problem: str,
    code: str,
) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise error

    app: Any = broken
    for layer in reversed(middleware(settings, Drain(), protocols)):
        app = layer.cls(app, *layer.args, **layer.kwargs)
    client = TestClient(app, raise_server_exceptions=False)

    poster, *others = (client.get(path) for path in ("/poster/make", "/txt2img", "/elsewhere"))
    assert poster.json() == {"problem": problem, "at": None}
    assert [response.json()["error"]["code"] for response in others] == [code, code]
    assert {response.status_code for response in (poster, *others)} == {status}


def test_a_drain_refuses_in_its_words_and_leaves_its_probe_open(
    client: TestClient, drain: Drain
) -> None:
    drain.start()
    refused = make(client, "text=x")

    assert (refused.status_code, refused.headers["connection"]) == (503, "close")
    assert refused.json() == {"problem": "the service is shutting down", "at": None}
    assert client.post("/txt2img", json={"prompt": "x"}).json()["error"]["code"] == "not_ready"
    assert client.get("/poster/alive").text == "yes"


@pytest.mark.parametrize("failure", [None, ValueError("a secret")])
def test_streams(client: TestClient, backend: ColourBackend, failure: Exception | None) -> None:
    backend.failure = failure
    text = client.post("/poster/watch", content="text=x").text

    *running, last = text.removesuffix("\n\n").split("\n\n")
    assert set(running) == {"data: working"}
    assert last == ("data: done" if failure is None else "data: failed: internal")


def test_a_client_that_leaves_cancels_its_job(settings: Settings) -> None:
    backend = ColourBackend()
    protocols = Protocols([PosterProtocol(Pictures(backend, settings))])
    (handler,) = (one.handler for one in protocols.endpoints if one.name == "poster_make")
    scope = {"type": "http", "method": "POST", "path": "/poster/make", "headers": []}

    async def leave() -> Response:
        backend.hold = asyncio.Event()
        messages = [{"type": "http.request", "body": b"text=x"}, {"type": "http.disconnect"}]

        async def receive() -> Any:
            await asyncio.sleep(0)
            return messages.pop(0)

        return await handler(Request(scope, receive))

    response = asyncio.run(leave())
    assert response.status_code == 499
    assert json.loads(bytes(response.body)) == {"problem": "the client left", "at": None}
    assert backend.cancelled == 1


def test_handlers_have_the_names_of_their_endpoints(protocols: Protocols) -> None:
    assert {one.handler.__name__ for one in protocols.endpoints} >= {"txt2img", "poster_make"}


def test_nothing_may_be_there_twice(backend: ColourBackend, settings: Settings) -> None:
    pictures = Pictures(backend, settings)

    with pytest.raises(ValueError, match="POST /poster/make is there 2 times"):
        Protocols([PosterProtocol(pictures), PosterProtocol(pictures)])
