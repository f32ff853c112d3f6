"""The site: the protocols over a backend, with the middleware and the drain around them."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI
from starlette.middleware import Middleware

from api.app import create_app, middleware
from api.backend import Backend
from api.classifier import BoundedClassifier, Classifier
from api.decoding.decoders import Decoders
from api.drain import Drain
from api.pictures import Pictures
from api.protocols.base import Protocols
from api.protocols.kserve.protocol import KServeProtocol
from api.protocols.native.protocol import NativeProtocol
from assembly.composition import Composition


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
    """

    app: FastAPI
    protocols: Protocols
    middleware: list[Middleware]
    drain: Drain
    decoders: Decoders

    async def open(self) -> None:
        """Start what the first requests would else wait for. Call it in the server's event loop."""
        await self.decoders.start()

    async def close(self, seconds: float) -> None:
        """Refuse new requests, and wait for those in flight; what is left then is cancelled."""
        self.drain.start()
        await self.drain.finish(seconds)
        await self.decoders.close()


def build_site(composition: Composition, backend: Backend, classifier: Classifier | None) -> Site:
    """The site over a backend and, where there is one, a classifier."""
    settings = composition.settings
    pictures = Pictures(backend, settings, composition.wildcards)
    bounded = (
        None if classifier is None else BoundedClassifier(classifier, settings, pictures.decoders)
    )
    protocols = Protocols(
        [
            NativeProtocol(pictures, settings, bounded),
            KServeProtocol(pictures, settings, bounded, backend.ready),
        ]
    )
    drain = Drain()
    return Site(
        app=create_app(protocols, swagger_assets="./static_content"),
        protocols=protocols,
        middleware=middleware(settings, drain, protocols),
        drain=drain,
        decoders=pictures.decoders,
    )
