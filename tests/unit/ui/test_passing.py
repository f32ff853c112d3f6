"""Pictures on their way to the browser, from the real API over a backend without an engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import Message

from tests.unit.api.conftest import ColourBackend
from tests.unit.ui.api_site import served
from ui.passing import Passing
from ui.service import Service

URL = "http://page"


class Noted(Service):
    """The page's client, with the responses of pictures that were opened by it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.opened: list[httpx.Response] = []

    @asynccontextmanager
    async def picture(
        self, identifier: str, index: int, query: str, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        async with self._service.picture(identifier, index, query, headers) as response:
            self.opened.append(response)
            yield response


def passing(service: Service) -> Starlette:
    return Starlette(routes=[Route("/picture/{identifier}/{index}", Passing(service))])


def attempt(
    backend: ColourBackend, folder: Path, trial: Callable[[Noted, str, bytes], Awaitable[None]]
) -> None:
    """Try it with a picture: its link on the page, and its file."""

    async def run() -> None:
        async with asyncio.timeout(60), served(backend, folder) as service:
            session = service.session(tag="anna")
            ordered = await session.order({"prompt": "a pear"})
            async for _ in session.watch(ordered.id):
                pass
            (output,) = (await session.find(ordered.id)).outputs
            await trial(Noted(service), output.link, await session.output(ordered.id, 0))

    asyncio.run(run())


def test_the_file_is_passed_on_to_who_has_the_link(backend: ColourBackend, tmp_path: Path) -> None:
    async def trial(service: Noted, link: str, file: bytes) -> None:
        transport = httpx.ASGITransport(passing(service))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as browser:
            whole = await browser.get(link)
            assert (whole.content, whole.headers["content-type"]) == (file, "image/png")
            part = await browser.get(link, headers={"Range": "bytes=0-7"})
            assert (part.status_code, part.content) == (206, file[:8])
            known = {"If-None-Match": whole.headers["etag"]}
            assert (await browser.get(link, headers=known)).status_code == 304

            for wrong in (link.partition("?")[0], link.replace("/0?", "/x?"), f"{link}0"):
                assert (await browser.get(wrong)).is_client_error, wrong
        assert all(one.is_closed for one in service.opened)

    attempt(backend, tmp_path, trial)


def test_a_browser_that_leaves_before_the_picture_leaves_nothing_open(
    backend: ColourBackend, tmp_path: Path
) -> None:
    async def trial(service: Noted, link: str, _: bytes) -> None:
        path, query = link.split("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "method": "GET",
            "path": f"/{path}",
            "query_string": query.encode(),
            "headers": [],
        }

        async def send(_: Message) -> None:
            raise OSError("it has left")

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        with pytest.raises(ClientDisconnect):
            await passing(service)(scope, receive, send)
        (answer,) = service.opened
        assert answer.is_closed

    attempt(backend, tmp_path, trial)


def test_without_a_service_it_is_said() -> None:
    async def trial() -> None:
        service = Service("http://127.0.0.1:1")
        transport = httpx.ASGITransport(passing(service))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as browser:
            answer = await browser.get("/picture/some/0?signature=x")
        assert (answer.status_code, "does not answer" in answer.text) == (502, True)
        await service.close()

    asyncio.run(trial())
