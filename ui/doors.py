"""Who is let in: pages of other sites and foreign host names are not; what browsers are told."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_FOREIGN: Final = ("cross-site", "same-site")
# Gradio's own page has scripts in it, and makes functions of text.
_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "connect-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Doors:
    """A middleware.

    Args:
        app: what is behind it.
        host: the address that is listened on: on a loopback one, only the names of this machine and
            ``allowed_hosts`` are answered to, against DNS rebinding.
        allowed_hosts: see ``host``.
    """

    def __init__(self, app: ASGIApp, host: str, allowed_hosts: frozenset[str]) -> None:
        self._app = app
        names = {"localhost", socket.gethostname().lower(), *map(str.lower, allowed_hosts)}
        self._names = names if allowed_hosts or is_loopback(host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if why := self._refusal(scope, headers):
            await PlainTextResponse(why, 403)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer[name] = value
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> str | None:
        if not self._is_known(headers.get("host", "")):
            return "This page is not served under that name: see UI_ALLOWED_HOSTS."
        opens = scope["method"] in ("GET", "HEAD") and scope["path"] == "/"
        if not opens and headers.get("sec-fetch-site") in _FOREIGN:
            return "Pages of other sites may not use this one."
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != headers.get("host", ""):
            return "Pages of other sites may not use this one."
        return None

    def _is_known(self, host: str) -> bool:
        if self._names is None:
            return True
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.strip("[]").lower()
        return name in self._names or name.endswith(".localhost") or _is_address(name)


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach that address."""
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
