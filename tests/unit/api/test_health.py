"""The health routes of a host without its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from api import health
from api.app import middleware
from api.drain import Drain
from settings import Settings
from tests.unit.api.conftest import ColourBackend, native_protocols


class Host:
    """An application with the routes, whose readiness is set."""

    def __init__(self) -> None:
        self.is_ready = True
        self.drain = Drain()
        settings = Settings()
        protocols = native_protocols(ColourBackend(), settings)
        self.app = Starlette(
            routes=health.routes(self.ready, lambda: (b"sd_jobs 1\n", "text/plain; version=0.0.4")),
            middleware=middleware(settings, self.drain, protocols),
        )

    async def ready(self) -> bool:
        await asyncio.sleep(0)
        return self.is_ready


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def client(host: Host) -> Iterator[TestClient]:
    with TestClient(host.app) as client:
        yield client


def test_ready(client: TestClient) -> None:
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_not_ready(host: Host, client: TestClient) -> None:
    host.is_ready = False
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "not_ready"
    assert int(response.headers["retry-after"]) >= 1
    assert client.get("/livez").status_code == 200


def test_draining(host: Host, client: TestClient) -> None:
    host.drain.start()
    assert client.get("/readyz").status_code == 503
    assert client.get("/livez").status_code == 200
    assert client.get("/metrics").status_code == 200


def test_metrics_are_what_the_host_measures(client: TestClient) -> None:
    response = client.get("/metrics")
    assert response.text == "sd_jobs 1\n"
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
