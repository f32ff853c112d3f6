"""The error boundary: the one place where an exception becomes an error response."""

from __future__ import annotations

import logging
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import url_parameters, warnings_header
from api.disconnect import client_left
from api.endpoints import Endpoint, Handler
from contract.errors import ErrorCode, RequestError

logger = logging.getLogger(__name__)

Renderer = Callable[[RequestError], Response]


def request_error(error: Exception) -> RequestError:
    """The error that a client is told of for any exception; logs those that are our own faults."""
    match error:
        case RequestError():
            if error.code is ErrorCode.INTERNAL:
                logger.error("internal error: %s", error.message)
            return error
        case ClientDisconnect():
            return client_left()
        case _:
            logger.error("internal error", exc_info=error)
            return RequestError(ErrorCode.INTERNAL, "unexpected exception")


def error_response(error: Exception, render: Renderer) -> Response:
    """Render any exception in the client's protocol.

    Args:
        error: a ``RequestError``, a client that left during its upload, or a fault.
        render: ``error_response`` of the protocol that the client speaks.
    """
    shown = request_error(error)
    response = render(shown)
    if shown.code is ErrorCode.REQUEST_TIMEOUT:
        # The connection has half a body on it: there can be no other request.
        response.headers["Connection"] = "close"
    return response


def guarded(endpoint: Endpoint, render: Renderer) -> Handler:
    """The endpoint's handler, which now raises nothing, under the endpoint's name."""

    async def handler(request: Request) -> Response:
        try:
            ignored = url_parameters.ignored(endpoint, request)
            response = await endpoint.handler(request)
        except Exception as error:
            return error_response(error, render)
        if ignored:
            response.headers.update(warnings_header.header_of(ignored))
        return response

    handler.__name__ = handler.__qualname__ = endpoint.name
    handler.__doc__ = endpoint.description
    return handler


async def call_guarded(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, render: Renderer
) -> None:
    """Call an application; an exception before its response has started becomes the response.

    A later one is raised, for the server to cut the connection.
    """
    started = False

    async def send_noting(message: Message) -> None:
        nonlocal started
        started = started or message["type"] == "http.response.start"
        await send(message)

    try:
        await app(scope, receive, send_noting)
    except Exception as error:
        response = error_response(error, render)
        if started:
            raise
        await response(scope, receive, send)
