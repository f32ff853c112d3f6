"""The health routes: what orchestrators and monitoring ask a host that has none of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from contract.errors import ErrorCode, RequestError

# Seconds after which a load balancer may look again.
_RETRY_AFTER = 5.0


def routes(
    ready: Callable[[], Awaitable[bool]], metrics: Callable[[], tuple[bytes, str]]
) -> list[Route]:
    """``/livez``, ``/readyz`` and ``/metrics``.

    Args:
        ready: whether a request would be served now, as ``api.backend.Backend.ready``.
        metrics: the measurements in Prometheus' text format, and its media type; may take a moment.
    """

    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        if await ready():
            return PlainTextResponse("ok\n")
        # Rendered by the middleware, as the protocols' errors are.
        raise RequestError(
            ErrorCode.NOT_READY, "the service is not ready", retry_after=_RETRY_AFTER
        )

    def measured(_: Request) -> Response:
        # Not a coroutine: Starlette runs it in a thread.
        text, media_type = metrics()
        return Response(text, media_type=media_type)

    return [
        Route("/livez", livez),
        Route("/healthz", livez),
        Route("/readyz", readyz),
        Route("/metrics", measured),
    ]
