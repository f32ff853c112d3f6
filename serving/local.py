"""The host without BentoML: site, engine and classifier in one process, on uvicorn.

Start it with ``python -m serving.local``. The models are loaded before it listens.
"""

from __future__ import annotations

import argparse
import logging
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from api import health
from assembly import environment, logs, startup
from assembly.composition import Composition, compose
from assembly.shutdown import Shutdown
from assembly.site import build_site
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
    from assembly.metrics import exposition
    from assembly.worker import Worker

    settings, vit = composition.settings, composition.vit
    worker = Worker(settings, composition.entries, composition.placement)
    backend = LocalBackend(worker, composition.models, composition.loras)
    classifier = None if vit is None else LocalClassifier(vit, settings.deadline)
    site = build_site(composition, backend, classifier)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None, None]:
        Shutdown(site.close, settings.drain).install()
        yield
        # The site has waited for the requests in flight.
        await backend.close(0)

    return Starlette(
        routes=[
            *health.routes(backend.ready, exposition),
            Mount("/static_content", StaticFiles(directory=swagger_ui())),
            Mount("/", site.app),
        ],
        middleware=site.middleware,
        lifespan=lifespan,
    )


def swagger_ui() -> Path:
    """The folder of swagger-ui's files, which come with BentoML; it is not imported for that."""
    bentoml = find_spec("bentoml")
    if bentoml is None or not bentoml.submodule_search_locations:
        raise RuntimeError("bentoml is not installed: run: pip install -r requirements.txt")
    return Path(bentoml.submodule_search_locations[0], "_internal", "server", "static_content")


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
        forwarded_allow_ips=list(settings.trusted_proxies),
    )


if __name__ == "__main__":
    main()
