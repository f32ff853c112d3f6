"""A second protocol, defined here, beside the native one: it renders every error of its paths."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.testclient import TestClient

from api import errors
from api.app import middleware
from api.drain import Drain
from api.endpoints import Endpoint
from api.event_stream import EventStream
from api.parameters import GenerationParameters, LoraParameter, fields_named
from api.pictures import Pictures
from api.protocols.base import Protocol, Protocols
from api.protocols.native.protocol import NativeProtocol
from contract.errors import ErrorCode, RequestError
from contract.events import Event, Failed, Image
from settings import Settings
from tests.unit.api.conftest import ColourBackend

NAMES = {"prompt": "text", "width": "size", "height": "size", "model": "engine", "loras": "styles"}


class PosterProtocol(Protocol):
    """Square pictures below ``/poster``; errors are ``{"problem": ..., "at": ...}``."""

    name = "poster"

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        response: dict[int | str, dict[str, Any]] = {200: {"description": "A poster"}}
        common: dict[str, Any] = {"methods": ("POST",), "tags": ("Posters",), "summary": "A poster"}
        self.schemas = {"Poster": {"type": "object"}}
        self.endpoints = [
            Endpoint(
                path="/poster/make",
                name="poster_make",
                handler=self._make,
                request_body={
                    "content": {"text/poster": {"schema": {"$ref": "#/components/schemas/Poster"}}}
                },
                responses=response,
                **common,
            ),
            Endpoint(
                path="/poster/watch",
                name="poster_watch",
                handler=self._watch,
                responses=response,
                **common,
            ),
            Endpoint(
                path="/poster/alive",
                methods=("GET",),
                name="poster_alive",
                handler=self._alive,
                tags=("Posters",),
                summary="Whether the process is there",
                responses=response,
                while_draining=True,
            ),
        ]

    def owns(self, path: str) -> bool:
        return path.startswith("/poster/")

    def error_response(self, error: RequestError) -> Response:
        fault = error.code is ErrorCode.INTERNAL
        body = {"problem": "our fault" if fault else error.message, "at": error.field}
        return JSONResponse(body, errors.STATUS[error.code], errors.retry_after(error))

    async def _make(self, request: Request) -> Response:
        with fields_named(NAMES):
            wanted = await self._pictures.request(await self._parameters(request))
            (image,) = await self._pictures.run(wanted, request.receive)
        return Response(image.data, media_type=image.media_type)

    async def _watch(self, request: Request) -> Response:
        with fields_named(NAMES):
            wanted = await self._pictures.request(await self._parameters(request))
            wanted = replace(wanted, wants_progress=True)
            first, events = await self._pictures.stream(wanted, request.receive)
        return EventStream(first, events, _write, {})

    async def _alive(self, request: Request) -> Response:
        return PlainTextResponse("yes")

    async def _parameters(self, request: Request) -> GenerationParameters:
        """``key=value`` by line; an unknown key is an error of this protocol's own."""
        lines = (await self._pictures.uploads.read(request)).decode().splitlines()
        given = dict(line.split("=", 1) for line in lines)
        unknown = set(given) - {"text", "size", "engine", "style"}
        if unknown:
            raise RequestError(ErrorCode.INVALID_REQUEST, f"no such key: {unknown.pop()}")
        side = int(given["size"]) if "size" in given else None
        return GenerationParameters(
            task="txt2img",
            prompt=given["text"],
            width=side,
            height=side,
            model=given.get("engine"),
            loras=(LoraParameter(given["style"]),) if "style" in given else (),
        )


def _write(event: Event) -> bytes:
    match event:
        case Image():
            return b"data: done\n\n"
        case Failed():
            return b"data: failed: " + event.code.value.encode() + b"\n\n"
        case _:
            return b"data: working\n\n"


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


def test_a_fault_outside_of_the_endpoints(settings: Settings, protocols: Protocols) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("a secret")

    app: Any = broken
    for layer in reversed(middleware(settings, Drain(), protocols)):
        app = layer.cls(app, *layer.args, **layer.kwargs)
    client = TestClient(app, raise_server_exceptions=False)

    assert client.get("/poster/make").json() == {"problem": "our fault", "at": None}
    assert client.get("/txt2img").json()["error"]["code"] == "internal"
    assert client.get("/elsewhere").json()["error"]["code"] == "internal"


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
