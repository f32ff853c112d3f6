"""Every route of every host is behind a key, but for the probes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import bentoml.legacy
import pytest
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient

from api.backend import Backend
from api.keys.doors import Doors
from api.keys.key import new_key
from api.keys.scopes import Access, Scope
from assembly.site import Site
from serving.installation import install
from settings import Settings
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.keys.sites import own_host, site_of, with_keys

TEXT, KEY = new_key("owner", scope=Scope.ADMIN)
PROBES = {"/livez", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"}
DOCS = {"/", "/docs.json", "/static_content/swagger-ui.css"}
# None of a host's, and some that look like one.
STRAY = ("/nothing", "/livez/", "/LIVEZ", "/metrics/", "/static_content/../metrics")


def key_settings(**changes: Any) -> Settings:
    return with_keys([KEY]).model_copy(update=changes)


def bentoml_host(site: Site, _: Backend) -> Starlette:
    service = bentoml.legacy.Service("doors")
    install(site, service)
    application: Starlette = service.asgi_app
    return application


def requests(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """A method and a path of each route, those of mounts included."""
    for route in routes:
        match route:
            case Mount(app=StaticFiles() as files):
                assert files.directory is not None
                names = [file.name for file in Path(files.directory).iterdir() if file.is_file()]
                assert "swagger-ui.css" in names
                yield from (("GET", f"{prefix}{route.path}/{name}") for name in names)
            case Mount():
                assert route.routes, f"{route.path}: nothing is known of what is mounted there"
                yield from requests(route.routes, prefix + route.path)
            case Route():
                path = re.sub(r"\{[^}]*\}", "x", prefix + route.path)
                yield from ((method, path) for method in route.methods or {"GET", "POST"})
            case _:
                raise AssertionError(f"{route}: a route of an unknown kind")


@pytest.mark.parametrize("host", [own_host, bentoml_host])
@pytest.mark.parametrize("public_docs", [False, True])
def test_without_a_key_only_the_probes_respond(
    host: Any, public_docs: bool, tmp_path: Path
) -> None:
    settings = key_settings(public_docs=public_docs, store=str(tmp_path))
    backend = ColourBackend()
    site = site_of(settings, backend)
    app = host(site, backend)
    client = TestClient(app, raise_server_exceptions=False)
    doors = Doors(site.protocols, settings)
    expected = PROBES | (DOCS if public_docs else set())
    walked = {*requests(app.routes), *(("GET", path) for path in STRAY)}
    paths = {path for _, path in walked}
    assert {*PROBES, *DOCS, "/metrics", "/txt2img", "/models", "/admin/queue"} <= paths
    assert len(walked) > 40

    for method, path in sorted(walked):
        refused = client.request(method, path).status_code == 401
        is_file = path.startswith("/static_content/") and ".." not in path
        assert refused is not (path in expected or (public_docs and is_file)), (method, path)
        if path not in STRAY and method not in {"HEAD", "OPTIONS"}:
            # A path that nobody has thought of would be open to keys of any scope.
            access = doors.access({"type": "http", "method": method, "path": path})
            assert access is not None or path in PROBES | DOCS, (method, path)


@pytest.mark.parametrize("host", [own_host, bentoml_host])
def test_with_a_key_of_all_scopes_all_of_them_do(host: Any, tmp_path: Path) -> None:
    backend = ColourBackend()
    app = host(site_of(key_settings(store=str(tmp_path)), backend), backend)
    client = TestClient(app, raise_server_exceptions=False, headers={"X-API-Key": TEXT})

    for method, path in sorted({*requests(app.routes)}):
        # BentoML's own measurements and readiness need its other processes.
        if path not in PROBES | {"/metrics"}:
            status = client.request(method, path).status_code
            assert status not in {401, 403} or "repository" in path, (method, path, status)


def test_the_strictest_of_several_endpoints_of_a_path_counts() -> None:
    settings = key_settings()
    doors = Doors(site_of(settings, ColourBackend()).protocols, settings)

    def access(method: str, path: str) -> Access | None:
        return doors.access({"type": "http", "method": method, "path": path, "client": None})

    assert access("GET", "/v2/models/tiny") is Access.READ
    assert access("POST", "/v2/repository/models/tiny/load") is Access.ADMIN
    assert access("GET", "/v2/repository/models/tiny/load") is None
    assert access("GET", "/metrics") is Access.METRICS
