"""The host without BentoML: site, engine and classifier in one process, on uvicorn.

Start it with ``python -m serving.local``. The models are loaded before it listens.
"""

from __future__ import annotations

import argparse
import logging
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette

from assembly import environment, logs, startup
from assembly.checks import check_address
from assembly.composition import Composition, compose
from assembly.shutdown import Shutdown
from assembly.site import build_site
from serving import http_server
from settings import Settings


def create_host(composition: Composition) -> Starlette:
    """Load the models and build the application around them.

    Raises:
        models.errors.ModelError: a model is missing or not loadable.
        RuntimeError: torch cannot use the device, or a warm-up picture failed.
    """
    environment.prepare()
    # Imported here, as they import torch.
    from assembly.local import LocalBackend, LocalClassifier
    from assembly.metrics import PrometheusObserver, exposition
    from assembly.worker import Worker

    settings, vit = composition.settings, composition.vit
    worker = Worker(settings, composition.entries, composition.placement, PrometheusObserver())
    backend = LocalBackend(worker, composition.models, composition.loras)
    classifier = None if vit is None else LocalClassifier(vit, settings.deadline)
    site = build_site(composition, backend, classifier)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None, None]:
        await site.open()
        Shutdown(site.close, settings.drain).install()
        yield
        # The site has waited for the requests in flight.
        await backend.close(0)

    return Starlette(
        routes=site.routes(backend.ready, exposition),
        middleware=site.middleware,
        lifespan=lifespan,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.local",
        description="Serve pictures from one process; SD_ variables are the settings.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    options = parser.parse_args(arguments)
    with startup.explained():
        settings = Settings()
        logs.configure(settings)
        check_address(settings, options.host)
        host = create_host(compose(settings))
    for name in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).setLevel(settings.log_level)
    # uvicorn raises the signal again when it is done; that ends the process with 0, as asked.
    signal.signal(signal.SIGTERM, lambda *_: None)
    uvicorn.run(
        host,
        host=options.host,
        port=options.port,
        log_config=None,
        **http_server.uvicorn_options(settings),
    )


if __name__ == "__main__":
    main()
