"""A small protocol with its own paths, field names and error body."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from api import errors
from api.endpoints import Endpoint
from api.event_stream import EventStream
from api.parameters import GenerationParameters, LoraParameter, fields_named
from api.pictures import Pictures
from api.protocols.base import Protocol
from contract.errors import ErrorCode, RequestError
from contract.events import Event, Failed, Image

NAMES = {"prompt": "text", "width": "size", "height": "size", "model": "engine", "loras": "styles"}


class PosterProtocol(Protocol):
    """Square pictures below ``/poster``; errors are ``{"problem": ..., "at": ...}``."""

    name = "poster"

    def __init__(self, pictures: Pictures, max_body: int = 4096) -> None:
        self._pictures = pictures
        response: dict[int | str, dict[str, Any]] = {200: {"description": "A poster"}}
        common: dict[str, Any] = {
            "max_body": max_body,
            "methods": ("POST",),
            "tags": ("Posters",),
            "summary": "A poster",
        }
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
            wanted = await self._pictures.request(await self._parameters(request), request)
            (image,) = await self._pictures.run(wanted, request.receive)
        return Response(image.data, media_type=image.media_type)

    async def _watch(self, request: Request) -> Response:
        with fields_named(NAMES):
            wanted = await self._pictures.request(await self._parameters(request), request)
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
