"""The composition root. Start it with ``bentoml serve service:svc``."""

from __future__ import annotations

from functools import partial

import bentoml

from api.app import create_app, middleware
from api.classifier import BoundedClassifier
from api.drain import Drain
from api.pictures import Pictures
from api.protocols.base import Protocols
from api.protocols.native.protocol import NativeProtocol
from assembly import logs, startup
from assembly.served_models import served_loras, served_model
from runners.backend import RunnerBackend
from runners.classifier import RunnerClassifier, build_classifier_runner
from runners.stable_diffusion import build_runner
from serving.descriptors import ReadyResponse, RequestBody, RequestQuery
from serving.fallback import FallbackRouter
from serving.shutdown import Shutdown
from settings import Settings

with startup.explained():
    settings = Settings()
    logs.configure(settings)
    catalog = startup.load_models(settings)
    entries = tuple(catalog.get(name) for name in settings.models)
    placement = startup.placement(settings, entries)
    wildcards = startup.load_wildcards(settings)
    vit = startup.find_classifier(settings)

runner = build_runner(settings, entries, placement)
backend = RunnerBackend(
    runner,
    [served_model(entry, placement, settings) for entry in entries],
    partial(served_loras, placement),
)
runners = [runner]
classifier = None
if vit is not None:
    classifier_runner = build_classifier_runner(vit)
    runners.append(classifier_runner)
    classifier = BoundedClassifier(
        RunnerClassifier(classifier_runner, vit, settings.deadline), settings
    )

native = NativeProtocol(Pictures(backend, settings, wildcards), settings, classifier)
protocols = Protocols([native])
drain = Drain()
site = create_app(protocols, swagger_assets="./static_content")

svc = bentoml.legacy.Service("stable_diffusion", runners=runners)
for layer in middleware(settings, drain, protocols):
    svc.add_asgi_middleware(layer.cls, **layer.kwargs)
svc.add_asgi_middleware(FallbackRouter, site=site)
svc.mount_asgi_app(site)

for endpoint in protocols.endpoints:
    if "POST" not in endpoint.methods:
        continue
    body = (
        RequestQuery()
        if endpoint.request_body is None
        else RequestBody(endpoint.request_body, protocols.schemas)
    )
    svc.api(
        input=body,
        output=ReadyResponse(endpoint.responses[200]),
        route=endpoint.path.removeprefix("/"),
    )(endpoint.handler)


@svc.on_startup
async def take_over_signals(_: bentoml.Context) -> None:
    """Finish the work in flight before going down."""
    Shutdown(drain, settings.drain).install()
