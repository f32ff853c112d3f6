"""The composition root. Start it with ``bentoml serve service:svc``."""

from __future__ import annotations

from functools import partial

import bentoml
from starlette.requests import Request
from starlette.responses import Response

from api.app import create_app, middleware
from api.classification import Classification
from api.drain import Drain
from api.native import Native
from api.openapi import Documentation, picture_responses, prediction_responses
from assembly import logs, startup
from assembly.served_models import served_loras, served_model
from assembly.shutdown import Shutdown
from assembly.snapshot import Snapshot
from runners.backend import RunnerBackend
from runners.classifier import RunnerClassifier, build_classifier_runner
from runners.stable_diffusion import build_runner
from serving.descriptors import ReadyResponse, RequestBody, RequestQuery
from serving.fallback import FallbackRouter
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
    Snapshot(partial(served_loras, placement)),
)
runners = [runner]
classification = None
if vit is not None:
    classifier_runner = build_classifier_runner(vit)
    runners.append(classifier_runner)
    classification = Classification(
        RunnerClassifier(classifier_runner, vit, settings.deadline), settings
    )

native = Native(backend, settings, wildcards)
drain = Drain()
site = create_app(backend, settings, native, classification, swagger_assets="./static_content")

svc = bentoml.legacy.Service("stable_diffusion", runners=runners)
for layer in middleware(settings, drain):
    svc.add_asgi_middleware(layer.cls, **layer.kwargs)
svc.add_asgi_middleware(FallbackRouter, site=site)
svc.mount_asgi_app(site)

documentation = Documentation(settings, backend.models, vit)
txt2img_body = RequestBody(documentation.txt2img_body(), documentation.schemas())
img2img_body = RequestBody(documentation.img2img_body(), documentation.schemas())
inpaint_body = RequestBody(documentation.inpaint_body(), documentation.schemas())
dreambooth_query = RequestQuery()
pictures = ReadyResponse(picture_responses()[200])


@svc.api(input=txt2img_body, output=pictures, route="txt2img")
async def txt2img(request: Request) -> Response:
    """Pictures from a text."""
    return await native.txt2img(request)


@svc.api(input=img2img_body, output=pictures, route="img2img")
async def img2img(request: Request) -> Response:
    """Pictures from a text and a picture."""
    return await native.img2img(request)


@svc.api(input=inpaint_body, output=pictures, route="inpaint")
async def inpaint(request: Request) -> Response:
    """Pictures with a part painted anew."""
    return await native.inpaint(request)


@svc.api(input=dreambooth_query, output=pictures, route="dreambooth")
async def dreambooth(request: Request) -> Response:
    """A picture by the fine-tuned model whose subject the prompt names."""
    return await native.dreambooth(request)


if classification is not None:
    classify_body = RequestBody(documentation.classify_body(), documentation.schemas())
    predictions = ReadyResponse(prediction_responses()[200])
    svc.api(input=classify_body, output=predictions, route="classify")(classification.classify)


@svc.on_startup
async def take_over_signals(_: bentoml.Context) -> None:
    """Finish the work in flight before going down."""
    Shutdown(drain.close, settings.drain).install()
