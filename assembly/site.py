"""The site: the protocols over a backend, with the middleware and the drain around them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from api import health, page
from api.app import create_app, middleware
from api.backend import Backend
from api.classifier import BoundedClassifier, Classifier
from api.decoding.decoders import Decoders
from api.drain import Drain
from api.keys.ledger import Ledger
from api.keys.metering import Metering
from api.keys.ring import keyring
from api.keys.usage import Usage
from api.pictures import Pictures
from api.predictions.opening import Opening
from api.protocols.a1111.protocol import WebUIProtocol
from api.protocols.admin.protocol import AdminProtocol
from api.protocols.base import Protocol, Protocols
from api.protocols.kserve.protocol import KServeProtocol
from api.protocols.native.protocol import NativeProtocol
from api.protocols.openai.protocol import OpenAIProtocol
from api.protocols.predictions.acceptance import Acceptance
from api.protocols.predictions.protocol import PredictionsProtocol
from assembly import predictions
from assembly.composition import Composition
from assembly.measuring import Instruments


@dataclass(frozen=True, slots=True)
class Site:
    """What a host installs.

    Attributes:
        app: every route of the protocols, the OpenAPI document and the page at ``/``, which has
            swagger-ui's files from ``static_content/``.
        protocols: has the table of endpoints, for hosts that register them as their own.
        middleware: goes around everything that the host serves, outermost first.
        drain: the requests in flight.
        decoders: decode the pictures of requests.
        predictions: those that are kept; None where there are to be none.
        ledger: what keys have had; None where there are no keys, or there is no store.
    """

    app: FastAPI
    protocols: Protocols
    middleware: list[Middleware]
    drain: Drain
    decoders: Decoders
    predictions: Opening | None = None
    ledger: Ledger | None = None

    def routes(
        self,
        ready: Callable[[], Awaitable[bool]],
        metrics: Callable[[], tuple[bytes, str]] | None = None,
    ) -> list[BaseRoute]:
        """Everything that a host serves which has no routes of its own.

        Args:
            ready: whether a request would be served now, as ``api.backend.Backend.ready``.
            metrics: see ``api.health.routes``.
        """
        return [
            *health.routes(ready, metrics),
            Mount(page.ASSETS, StaticFiles(directory=swagger_ui())),
            Mount("/", self.app),
        ]

    async def open(self) -> None:
        """Start what the first requests would else wait for. Call it in the server's event loop."""
        await self.decoders.start()
        if self.predictions is not None:
            await self.predictions.start()
        if self.ledger is not None:
            await self.ledger.start()

    async def close(self, seconds: float) -> None:
        """Refuse new requests, and wait for those in flight; what is left then is cancelled."""
        self.drain.start()
        if self.predictions is not None:
            self.predictions.stop_waiting()
            async with asyncio.TaskGroup() as group:
                group.create_task(self.drain.finish(seconds))
                group.create_task(self.predictions.finish(seconds))
            if self.ledger is not None:
                await self.ledger.close()
            await self.predictions.close()
        else:
            await self.drain.finish(seconds)
        await self.decoders.close()


def _prometheus() -> Instruments:
    # It decides at its import whether it works across processes, which a host sets up.
    from assembly.metrics import PrometheusInstruments

    return PrometheusInstruments()


def build_site(
    composition: Composition,
    backend: Backend,
    classifier: Classifier | None,
    instruments: Callable[[], Instruments] = _prometheus,
) -> Site:
    """The site over a backend and, where there is one, a classifier.

    Args:
        instruments: makes those that measure what happens in this process, once it serves.

    Raises:
        UnusableKeys: the API keys cannot be read; see ``assembly.startup.explained``.
        StoreUnusable: ``SD_STORE`` names a folder that cannot be written to; likewise.
    """
    settings = composition.settings
    keys, usage = keyring(settings), Usage()
    metering = Metering(usage)
    pictures = Pictures(backend, settings, composition.wildcards, metering)
    bounded = (
        None if classifier is None else BoundedClassifier(classifier, settings, pictures.decoders)
    )
    kept = predictions.opening(settings, backend, instruments)
    acceptance = None if kept is None else Acceptance(kept, settings, metering)
    served: list[Protocol] = [NativeProtocol(pictures, settings, bounded, acceptance)]
    if acceptance is not None:
        served.append(PredictionsProtocol(pictures, acceptance, settings))
    served += [
        KServeProtocol(pictures, settings, bounded, backend.ready),
        OpenAIProtocol(pictures, settings, bounded, backend.ready, acceptance),
        WebUIProtocol(pictures, settings, bounded),
    ]
    if keys is not None:
        served.append(AdminProtocol(backend, keys, metering))
    protocols = Protocols(served)
    drain = Drain()
    return Site(
        app=create_app(protocols, swagger_assets=f".{page.ASSETS}", with_keys=keys is not None),
        protocols=protocols,
        middleware=middleware(settings, drain, protocols, keys, metering),
        drain=drain,
        decoders=pictures.decoders,
        predictions=kept,
        ledger=None if keys is None or kept is None else Ledger(usage, kept.database),
    )


def swagger_ui() -> Path:
    """The folder of swagger-ui's files, which come with BentoML; it is not imported for that."""
    bentoml = find_spec("bentoml")
    if bentoml is None or not bentoml.submodule_search_locations:
        raise RuntimeError("bentoml is not installed: run: pip install -r requirements.txt")
    return Path(bentoml.submodule_search_locations[0], "_internal", "server", "static_content")
