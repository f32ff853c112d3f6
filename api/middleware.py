"""ASGI middleware for every path of a host. Nothing here buffers a response."""

from __future__ import annotations

import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors, request_id
from contract.errors import ErrorCode, RequestError

logger = logging.getLogger(__name__)


class RequestIdentity:
    """Names each request, echoes the name, and answers for whatever nobody else caught.

    A client may choose the name with ``X-Request-Id``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = request_id.choose(Headers(scope=scope).get("x-request-id"))
        token = request_id.current.set(name)
        started = False

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-Id"] = name
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except RequestError as error:
            if started:
                raise
            await errors.response(error)(scope, receive, send_named)
        except Exception:
            logger.exception("internal error")
            if started:
                raise
            internal = RequestError(ErrorCode.INTERNAL, "unexpected exception")
            await errors.response(internal)(scope, receive, send_named)
        finally:
            request_id.current.reset(token)


class BodyLimit:
    """Refuses bodies that announce, or turn out, to be too long, before reading them to the end.

    Args:
        app: what to protect.
        max_bytes: the longest body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_bytes:
            await errors.response(self._too_large(announced))(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise self._too_large("more")
            return message

        await self._app(scope, receive_counted, send)

    def _too_large(self, size: str) -> RequestError:
        message = f"the body must be at most {self._max_bytes} bytes long, got {size}"
        return RequestError(ErrorCode.PAYLOAD_TOO_LARGE, message)
