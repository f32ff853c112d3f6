"""Our own page and OpenAPI document in the place of BentoML's."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

_PATHS = frozenset({"/", "/docs.json"})


class Front:
    """Middleware that lets ``site`` answer ``/`` and ``/docs.json``.

    BentoML's routes win over mounted applications, its page loads a tracker from another host,
    and its document knows neither our errors nor our ranges.
    """

    def __init__(self, app: ASGIApp, site: ASGIApp) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and scope["path"] in _PATHS
        await (self._site if ours else self._app)(scope, receive, send)
