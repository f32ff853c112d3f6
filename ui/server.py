"""The server of the page: Gradio's, what the page itself asks for, and who is let in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import gradio as gr
from fastapi import FastAPI
from gradio import routes
from jinja2 import ChoiceLoader, DictLoader, FileSystemLoader
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from ui import app
from ui.doors import Doors
from ui.passing import Passing
from ui.service import Service
from ui.watching import watched

# Gradio's template of the page.
_PAGE: Final = "frontend/index.html"
# Bars for scrolling are dark where the rest is.
_SCHEMES: Final = '<meta name="color-scheme" content="light dark">'


def create(service: Service, host: str, allowed_hosts: frozenset[str] = frozenset()) -> FastAPI:
    """The page as an application.

    Args:
        service: what it speaks to.
        host: the address that it is going to listen on.
        allowed_hosts: names that it is called by, beside those of the machine.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()

    server = FastAPI(lifespan=lifespan, openapi_url=None)

    @server.get("/livez")
    async def live() -> Response:
        return PlainTextResponse("ok")

    @server.get("/readyz")
    async def ready() -> Response:
        is_ready = await service.is_ready()
        return PlainTextResponse("ok" if is_ready else "waiting", 200 if is_ready else 503)

    @server.get("/watch/{ticket}")
    async def watch(ticket: str) -> Response:
        """What becomes of an order, as server-sent events."""
        if service.tickets.find(ticket) is None:
            return PlainTextResponse("There is no such order.", 404)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(
            watched(service, ticket), headers=headers, media_type="text/event-stream"
        )

    server.router.routes.append(Route("/picture/{identifier}/{index}", Passing(service)))
    gr.mount_gradio_app(
        server,
        app.build(service),
        path="",
        footer_links=[],
        run_history=False,
        show_error=False,
        # The editor sends what it shows as PNGs, which are larger than the photograph was.
        max_file_size="64mb",
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=app.THEME,
        css_paths=list(app.CSS),
    )
    _put_first(app.SCRIPT.read_text())
    server.add_middleware(Doors, host=host, allowed_hosts=allowed_hosts)
    return server


def _put_first(script: str) -> None:
    """Have a script run before Gradio's own, which what it takes for ``head`` does not."""
    environment = routes.templates.env
    loader = FileSystemLoader(routes.STATIC_TEMPLATE_LIB)
    page, _, _ = loader.get_source(environment, _PAGE)
    first = f"<head>\n{_SCHEMES}\n<script>{{% raw %}}{script}{{% endraw %}}</script>"
    own = DictLoader({_PAGE: page.replace("<head>", first, 1)})
    environment.loader = ChoiceLoader([own, loader])
