"""Sites without an engine, with keys or without."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.applications import Starlette

from api.backend import Backend, ServedLora
from api.keys import document
from api.keys.key import Key
from assembly.composition import Composition
from assembly.site import Site, build_site
from assembly.snapshot import Snapshot
from models.placement import Placement
from settings import Settings
from templating.wildcards import NO_WILDCARDS
from tests.unit.api.conftest import TINY, ShadeClassifier


def with_keys(keys: Iterable[Key]) -> Settings:
    """Settings with these keys."""
    return Settings.model_validate({"api_keys": document.dump(keys)})


def site_of(settings: Settings, backend: Backend) -> Site:
    """The site over a backend, as all hosts build it."""
    loras: tuple[ServedLora, ...] = ()
    composition = Composition(
        settings=settings,
        entries=(),
        placement=Placement("cpu", "fp32"),
        models=(TINY,),
        loras=Snapshot(lambda: loras),
        wildcards=NO_WILDCARDS,
        vit=None,
    )
    return build_site(composition, backend, ShadeClassifier())


def own_host(site: Site, backend: Backend) -> Starlette:
    """What ``serving.local`` and Ray's ingress make of it."""
    return Starlette(
        routes=site.routes(backend.ready, lambda: (b"sd_up 1\n", "text/plain")),
        middleware=site.middleware,
    )
