"""Cross-site requests: what pages of other sites have a browser send."""

from __future__ import annotations

import logging
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import shown
from api.protocols.base import Protocols
from contract.errors import ErrorCode, RequestError

logger = logging.getLogger(__name__)

# Fetch Metadata (https://www.w3.org/TR/fetch-metadata/): ``none`` is what the user typed.
_OWN_SITE = frozenset({"same-origin", "none"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


class CrossSiteGate:
    """Middleware that refuses what a browser marks as coming from another site, body unread.

    A link to a path that starts no work may be followed. Clients other than browsers send none of
    these headers. Old browsers, and all of them over plain HTTP to another machine, send only
    Origin, and that not with a GET.

    It raises ``RequestError(FORBIDDEN)``.

    Args:
        app: the application.
        origins: the other sites that are welcome, as browsers write them in Origin.
        protocols: know the paths that start work.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str], protocols: Protocols) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._protocols = protocols

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # No path speaks WebSocket: the router refuses those.
        if scope["type"] == "http":
            self._check(scope, Headers(scope=scope))
        await self._app(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        origins = headers.getlist("origin")
        if (
            not _is_foreign(headers, origins)
            or (origins and self._origins.issuperset(origins))
            or self._is_harmless_link(scope, headers)
        ):
            return
        named = shown(", ".join(origins)) if origins else "without an Origin"
        logger.info("refused: %s from another site, %s", shown(scope["path"]), named)
        raise RequestError(
            ErrorCode.FORBIDDEN,
            "pages of other sites may not use the service, unless their origin is one of "
            f"SD_ALLOWED_ORIGINS; this request came from another site, {named}",
            field="Origin",
        )

    def _is_harmless_link(self, scope: Scope, headers: Headers) -> bool:
        followed = ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")
        return (
            scope["method"] in {"GET", "HEAD"}
            and all(headers.get(name) == value for name, value in followed)
            and self._protocols.may_be_linked_to(scope)
        )


def _is_foreign(headers: Headers, origins: Collection[str]) -> bool:
    """Whether a request comes from another site. Fetch Metadata goes first: a proxy may have
    written another host than that of the page."""
    sites = headers.getlist("sec-fetch-site")
    if sites:
        return not _OWN_SITE.issuperset(sites)
    host = headers.get("host", "").lower()
    return not all(_is_own(origin, host) for origin in origins)


def _is_own(origin: str, host: str) -> bool:
    """Whether an origin is the service's own. Its scheme is unknown behind a proxy with TLS."""
    scheme, _, rest = origin.lower().partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    return port is not None and host in {rest, f"{rest}:{port}"}
