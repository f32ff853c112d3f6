"""Browser headers: what browsers may do with the responses, on every one of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # A response that is a page has one of its own.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_RESOURCE_POLICY: Final = "Cross-Origin-Resource-Policy"
# What pages of allowed origins may read beside the headers that browsers show anyway.
_EXPOSED: Final = (
    "Content-Disposition",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-LoRAs",
    "X-Model",
    "X-Request-Id",
    "X-Screening",
    "X-Seed",
    "X-Warnings",
)


class BrowserHeaders:
    """Middleware that adds the security headers, and CORS for the allowed origins.

    Args:
        app: the application.
        origins: the other sites whose pages may read the responses.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._shared = CORSMiddleware(
            app,
            allow_origins=self._origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "X-API-Key", "X-Request-Id"),
            allow_private_network=True,
            expose_headers=_EXPOSED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        shared = Headers(scope=scope).get("origin") in self._origins

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault(_RESOURCE_POLICY, "cross-origin" if shared else "same-origin")
                if self._origins and not shared:
                    headers.add_vary_header("Origin")
            await send(message)

        app = self._shared if shared else self._app
        await app(scope, receive, send_with_headers)
