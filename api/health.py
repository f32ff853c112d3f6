"""The health routes: what orchestrators and monitoring ask a host that has none of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from contract.errors import ErrorCode, RequestError

PROBES: Final = frozenset({"/livez", "/healthz", "/readyz"})
METRICS: Final = "/metrics"
# Seconds after which a load balancer may look again.
_RETRY_AFTER = 5.0


def not_ready(what: str, reason: str = "") -> RequestError:
    """The error where something is not ready: seconds after which a probe may look again."""
    message = f"{what} is not ready{reason and f': {reason}'}"
    return RequestError(ErrorCode.NOT_READY, message, retry_after=_RETRY_AFTER)


def routes(
    ready: Callable[[], Awaitable[bool]], metrics: Callable[[], tuple[bytes, str]] | None = None
) -> list[Route]:
    """``/livez``, ``/healthz``, ``/readyz`` and, where there is something to show, ``/metrics``.

    Args:
        ready: whether a request would be served now, as ``api.backend.Backend.ready``.
        metrics: the measurements in Prometheus' text format, and its media type; may take a moment.
            None where they are to be had elsewhere.
    """

    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        if await ready():
            return PlainTextResponse("ok\n")
        # Rendered by the middleware, as the protocols' errors are.
        raise not_ready("the service")

    health = [Route("/livez", livez), Route("/healthz", livez), Route("/readyz", readyz)]
    if metrics is None:
        return health

    def measured(_: Request) -> Response:
        # Not a coroutine: Starlette runs it in a thread.
        text, media_type = metrics()
        return Response(text, media_type=media_type)

    return [*health, Route(METRICS, measured)]
