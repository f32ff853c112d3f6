"""ASGI middleware for every path of a host. Nothing here buffers a response."""

from __future__ import annotations

from functools import partial

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import arrival, clients, request_id
from api.error_boundary import call_guarded
from api.protocols.base import Protocols
from contract.errors import ErrorCode, RequestError


class RequestIdentity:
    """Names each request, echoes the name, notes its arrival and its client, and renders uncaught
    exceptions.

    A client may choose the name with ``X-Request-Id``.

    Args:
        app: the application.
        protocols: render the errors.
    """

    def __init__(self, app: ASGIApp, protocols: Protocols) -> None:
        self._app = app
        self._protocols = protocols

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = request_id.choose(Headers(scope=scope).get("x-request-id"))

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = name
            await send(message)

        token = request_id.current.set(name)
        try:
            with arrival.noted(), clients.noted(scope):
                render = partial(self._protocols.error_response, scope)
                await call_guarded(self._app, scope, receive, send_named, render)
        finally:
            request_id.current.reset(token)


class BodyLimit:
    """Refuses bodies that announce, or turn out, to be too long, before reading them to the end.

    It raises ``RequestError``, in the application's ``receive`` where the length comes to light
    only there.

    Args:
        app: the application to protect.
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
            raise self._too_large(announced)
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
