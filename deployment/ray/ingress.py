"""The ingress deployment: the whole site, in front of the engine deployments."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.serve.context import _get_global_client
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assembly import environment, logs, startup
from assembly.checks import check_address
from assembly.composition import compose
from assembly.site import build_site
from deployment.ray.backend import Engines, RayBackend
from deployment.ray.classifier import RayClassifier
from deployment.ray.metrics import RayInstruments
from deployment.ray.status import Status
from models.placement import Placement
from settings import Settings


@dataclass(frozen=True, slots=True)
class Plan:
    """What the application was built to be.

    Attributes:
        placements: where each model runs, by its name.
        minimum: the replicas that each deployment behind the ingress always has, by its name.
        start_seconds: how long a request may wait for a replica, beside its deadline.
    """

    placements: Mapping[str, Placement]
    minimum: Mapping[str, int]
    start_seconds: float


class Ingress:
    """Speaks with the clients. Serve runs the application that it builds.

    Args:
        settings: with all models.
        plan: see there.
        models: the names of those of each engine deployment.
        engines: their handles.
        classifier: that of the classifier; None where there is none.

    Raises:
        RuntimeError: says in a sentence why it cannot start.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        models: Sequence[Sequence[str]],
        engines: Sequence[Any],
        classifier: Any = None,
    ) -> None:
        environment.prepare()
        logs.configure(settings)
        with startup.explained(RuntimeError):
            composition = compose(settings, plan.placements)
        status = Status(serve.get_replica_context().app_name, plan.minimum)
        self._backend = RayBackend(
            [Engines(*each) for each in zip(models, engines, strict=True)],
            composition.models,
            composition.loras,
            status,
            plan.start_seconds,
        )
        vit = composition.vit
        with startup.explained(RuntimeError):
            # None where Serve has no HTTP proxies.
            host = _get_global_client().http_config.host
            check_address(settings, host or "localhost")
            self._site = build_site(
                composition,
                self._backend,
                None if vit is None else RayClassifier(classifier, vit, settings.deadline, status),
                RayInstruments,
            )

    def __serve_build_asgi_app__(self) -> ASGIApp:
        # Serve's own name for it.
        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncGenerator[None, None]:
            await self._site.open()
            yield
            # Serve has waited for the requests in flight.
            await self._site.close(0)

        application = Starlette(
            # Ray exports the measurements of all processes itself.
            routes=self._site.routes(self._backend.ready),
            middleware=self._site.middleware,
            lifespan=lifespan,
        )
        return Unnamed(application)

    async def drain(self) -> None:
        """Refuse new requests from now on."""
        self._site.drain.start()


class Unnamed:
    """Leaves it to Serve to send the name of a request back, which would come twice else.

    Args:
        app: the application, which has taken the name over from the request.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_unnamed(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)["X-Request-Id"]
            await send(message)

        await self._app(scope, receive, send_unnamed)
