"""The composition root of the BentoML host. Start it with ``bentoml serve service:svc``."""

from __future__ import annotations

import bentoml

from assembly import logs, startup
from assembly.composition import compose
from assembly.shutdown import Shutdown
from assembly.site import build_site
from runners.backend import RunnerBackend
from runners.classifier import RunnerClassifier, build_classifier_runner
from runners.stable_diffusion import build_runner
from serving import process
from serving.descriptors import input_of, output_of
from serving.fallback import FallbackRouter
from settings import Settings

with startup.explained():
    settings = Settings()
    logs.configure(settings)
    begin_process = process.prepare(settings)
    composition = compose(settings)

runner = build_runner(settings, composition.entries, composition.placement)
runners = [runner]
classifier = None
if composition.vit is not None:
    classifier_runner = build_classifier_runner(composition.vit)
    runners.append(classifier_runner)
    classifier = RunnerClassifier(classifier_runner, composition.vit, settings.deadline)

backend = RunnerBackend(runner, composition.models, composition.loras)
with startup.explained():
    site = build_site(composition, backend, classifier)

svc = bentoml.legacy.Service("stable_diffusion", runners=runners)
for layer in site.middleware:
    svc.add_asgi_middleware(layer.cls, **layer.kwargs)
svc.add_asgi_middleware(FallbackRouter, site=site.app)
svc.mount_asgi_app(site.app)

for endpoint in site.protocols.endpoints:
    # BentoML's own endpoints are POST; other methods are routes of the mounted site, and so are
    # paths with names in them (``FallbackRouter``).
    if "POST" in endpoint.methods and not endpoint.has_names:
        svc.api(
            input=input_of(endpoint, site.protocols.schemas),
            output=output_of(endpoint),
            route=endpoint.path.removeprefix("/"),
        )(endpoint.handler)


@svc.on_startup
async def begin(_: bentoml.Context) -> None:
    """Open the site, and finish the work in flight before the process ends."""
    begin_process()
    await site.open()
    Shutdown(site.close, settings.drain).install()
