"""The way of pictures to the browser: files as the service made them, none kept here."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ui.refusal import Refusal
from ui.service import Service

_PASSED_ON: Final = ("range", "if-range", "if-none-match")
_PASSED_BACK: Final = (
    "accept-ranges",
    "cache-control",
    "content-disposition",
    "content-length",
    "content-range",
    "content-type",
    "etag",
)
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_INDEX: Final = re.compile(r"[0-9]{1,4}")


class Passing:
    """An application for the path ``/picture/{identifier}/{index}``; the query signs for it.

    The service's response is open for as long as this one is sent, also where the browser leaves
    before it has begun.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            response = await self._response(Request(scope), stack)
            await response(scope, receive, send)

    async def _response(self, request: Request, stack: AsyncExitStack) -> Response:
        identifier, index = request.path_params["identifier"], request.path_params["index"]
        is_one = _ID.fullmatch(identifier) and _INDEX.fullmatch(index)
        if not is_one or "signature" not in request.query_params:
            return PlainTextResponse("There is no such picture.", 404)
        headers = {
            name: value for name in _PASSED_ON if (value := request.headers.get(name)) is not None
        }
        opened = self._service.picture(identifier, int(index), request.url.query, headers)
        try:
            answer = await stack.enter_async_context(opened)
        except Refusal as refusal:
            return PlainTextResponse(refusal.sentence, 502)
        if answer.is_error:
            return PlainTextResponse(
                "The link has expired: open the page again.", answer.status_code
            )
        kept = {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
        return StreamingResponse(answer.aiter_raw(), answer.status_code, kept)
