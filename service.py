"""The composition root of the BentoML host. Start it with ``bentoml serve service:svc``."""

from __future__ import annotations

import bentoml

from assembly import logs, startup
from assembly.composition import compose
from assembly.shutdown import Shutdown
from runners.backend import RunnerBackend
from runners.classifier import RunnerClassifier, build_classifier_runner
from runners.stable_diffusion import build_runner
from serving import process
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

svc = bentoml.legacy.Service("stable_diffusion", runners=runners)

if not process.is_runner():
    # Imported here, as a runner has no site: its start takes two seconds less of processor time.
    from assembly.site import build_site
    from serving.installation import install

    backend = RunnerBackend(runner, composition.models, composition.loras)
    with startup.explained():
        site = build_site(composition, backend, classifier)
    install(site, svc)

    @svc.on_startup
    async def begin(_: bentoml.Context) -> None:
        """Open the site, and finish the work in flight before the process ends."""
        begin_process()
        await site.open()
        Shutdown(site.close, settings.drain).install()
