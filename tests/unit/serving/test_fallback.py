from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.fallback import FallbackRouter


async def site_endpoint(request: Request) -> PlainTextResponse:
    return PlainTextResponse("site")


async def host_endpoint(request: Request) -> PlainTextResponse:
    return PlainTextResponse("host")


class Counter:
    """Notes the paths that pass, as BentoML's metrics do."""

    def __init__(self, app: ASGIApp, paths: list[str]) -> None:
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._paths.append(scope["path"])
        await self._app(scope, receive, send)


@pytest.mark.parametrize(
    ("method", "path", "status", "text", "counted"),
    [
        ("GET", "/", 200, "site", False),
        ("GET", "/docs.json", 200, "site", False),
        ("GET", "/livez", 200, "host", True),
        ("GET", "/models", 200, "site", True),
        ("POST", "/models", 405, "Method Not Allowed", True),
        ("GET", "/models/any", 200, "site", False),
        ("POST", "/models/any", 405, "Method Not Allowed", False),
        ("GET", "/wp-login.php", 404, "Not Found", False),
    ],
)
def test_who_answers_and_what_is_counted(
    method: str, path: str, status: int, text: str, counted: bool
) -> None:
    ours = ("/", "/docs.json", "/models", "/models/{name}")
    site = Starlette(routes=[Route(path, site_endpoint) for path in ours])
    paths: list[str] = []
    host = Starlette(
        routes=[
            *(Route(path, host_endpoint) for path in ("/", "/docs.json", "/livez")),
            Mount("/", site),
        ],
        middleware=[Middleware(FallbackRouter, site=site), Middleware(Counter, paths=paths)],
    )
    response = TestClient(host).request(method, path)

    assert (response.status_code, response.text) == (status, text)
    assert paths == ([path] if counted else [])
