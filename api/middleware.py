"""ASGI middleware for every path of a host. Nothing here buffers a response."""

from __future__ import annotations

from functools import partial

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import arrival, clients, request_id
from api.error_boundary import call_guarded
from api.protocols.base import Protocols


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
