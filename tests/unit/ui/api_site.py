"""The real API over a backend without an engine, on a port, for the page's client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn

from api.keys.key import Key
from settings import Settings
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.keys.sites import own_host, site_of, with_keys
from ui.service import Service


@asynccontextmanager
async def served(
    backend: ColourBackend, folder: Path | None, keys: Sequence[Key] = (), shared: str | None = None
) -> AsyncIterator[Service]:
    """The page's client of a service that runs in this loop.

    Args:
        backend: makes the pictures.
        folder: for the predictions; None where there are none.
        keys: the service's.
        shared: the page's own key.
    """
    settings = with_keys(keys) if keys else Settings()
    settings = settings.model_copy(update={"store": "none" if folder is None else str(folder)})
    site = site_of(settings, backend)
    server = uvicorn.Server(
        uvicorn.Config(own_host(site, backend), port=0, log_config=None, lifespan="off")
    )
    await site.open()
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    service = Service(f"http://127.0.0.1:{port}", shared)
    try:
        yield service
    finally:
        await service.close()
        server.should_exit = True
        await running
        await site.close(0)
