"""The fallback router: our page, OpenAPI document and 404 instead of BentoML's."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from api.page import PATHS

logger = logging.getLogger(__name__)


class FallbackRouter:
    """Middleware that has ``site`` respond to ``/``, ``/docs.json``, paths with names in them, and
    unknown paths.

    BentoML's routes win over mounted applications, its page loads a tracker from another host,
    its document knows neither our errors nor our ranges, and its metrics keep every path that
    anyone has ever asked for, for ever.
    """

    def __init__(self, app: ASGIApp, site: Starlette) -> None:
        self._app = app
        self._site = site
        self._named = [
            route for route in site.routes if isinstance(route, Route) and route.param_convertors
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (
            scope["path"] in PATHS or self._has_names(scope) or self._unknown(scope)
        ):
            await self._site(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _has_names(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is not Match.NONE for route in self._named)

    def _unknown(self, scope: Scope) -> bool:
        host: Starlette = scope["app"]
        others = (route for route in host.routes if getattr(route, "app", None) is not self._site)
        if _any_matches(others, scope) or _any_matches(self._site.routes, scope):
            return False
        logger.info("%s %s: no such path", scope["method"], scope["path"])
        return True


def _any_matches(routes: Iterable[BaseRoute], scope: Scope) -> bool:
    return any(_serves(route, scope) for route in routes)


def _serves(route: BaseRoute, scope: Scope) -> bool:
    if route.matches(scope)[0] is Match.NONE:
        return False
    files = getattr(route, "app", None)
    if not isinstance(files, StaticFiles):
        return True
    # A mount matches whatever is below it, with files or without.
    path = scope["path"].removeprefix(getattr(route, "path", "")).lstrip("/")
    try:
        return files.lookup_path(path)[1] is not None
    except (OSError, ValueError):
        # Too long, or with a NUL: no name of a file.
        return False
