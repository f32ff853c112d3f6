"""Sites without an engine, with keys or without."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.testclient import TestClient

from api.backend import Backend, ServedLora
from api.keys import document
from api.keys.key import Key, new_key
from api.keys.scopes import Scope
from assembly.composition import Composition
from assembly.measuring import Instrument
from assembly.site import Site, build_site
from assembly.snapshot import Snapshot
from contract.tenant_load import TenantLoad
from models.placement import Placement
from settings import Settings
from templating.wildcards import NO_WILDCARDS
from tests.unit.api.conftest import TINY, ColourBackend, ShadeClassifier

ORIGIN = "https://friend.test"
BODY = {"prompt": "a red apple", "width": 64, "height": 64, "num_inference_steps": 10}
ADDRESS = ("192.0.2.7", 50000)

TEXTS: dict[str, str] = {}
KEYS: dict[str, Key] = {}
_FIELDS: dict[str, dict[str, Any]] = {
    "reader": {"scope": Scope.READ},
    "maker": {},
    "owner": {"scope": Scope.ADMIN},
    "limited": {"rate": "3/minute", "pictures_per_day": 5, "pixel_steps_per_day": 64 * 64 * 40},
    "favoured": {"priority": 3, "max_queued": 7},
}
for _name, _fields in _FIELDS.items():
    TEXTS[_name], KEYS[_name] = new_key(_name, **_fields)


class BusyBackend(ColourBackend):
    """Has work of two tenants."""

    async def tenants(self) -> dict[str, TenantLoad]:
        return {KEYS["maker"].id: TenantLoad(3, 1), "sd_0123456789ab": TenantLoad(1)}


def with_keys(keys: Iterable[Key]) -> Settings:
    """Settings with these keys."""
    return Settings.model_validate({"api_keys": document.dump(keys)})


class Unmeasured:
    """Instruments that show nothing: a process can have those of Prometheus once."""

    def counter(self, *_: Any, **__: Any) -> Instrument:
        return lambda *_: None

    gauge = histogram = counter


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
    return build_site(composition, backend, ShadeClassifier(), Unmeasured)


def own_host(site: Site, backend: Backend) -> Starlette:
    """What ``serving.local`` and Ray's ingress make of it."""
    return Starlette(
        routes=site.routes(backend.ready, lambda: (b"sd_up 1\n", "text/plain")),
        middleware=site.middleware,
    )


def site_client(backend: Backend, **changes: Any) -> TestClient:
    """What the local host and Ray's ingress serve, without an engine."""
    changes["allowed_origins"] = (ORIGIN,)
    settings = with_keys(KEYS.values()).model_copy(update=changes)
    app = own_host(site_of(settings, backend), backend)
    return TestClient(app, client=ADDRESS, raise_server_exceptions=False)


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TEXTS[name]}"}


def basic(password: str, user: str = "anyone") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
