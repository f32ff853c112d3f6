"""What is open without a key, and what browsers and documents are told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from settings import Settings
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.keys.sites import (
    BODY,
    ORIGIN,
    TEXTS,
    BusyBackend,
    basic,
    bearer,
    own_host,
    site_client,
    site_of,
)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with site_client(BusyBackend()) as client:
        yield client


def test_measurements_may_be_open_to_some_addresses() -> None:
    near = site_client(ColourBackend(), metrics_from=("192.0.2.0/24",))
    far = site_client(ColourBackend(), metrics_from=("127.0.0.1", "::1"))

    assert near.get("/metrics").text == "sd_up 1\n"
    assert near.get("/models").status_code == 401
    assert far.get("/metrics").status_code == 401


def test_the_page_may_be_open_to_everybody() -> None:
    client = site_client(ColourBackend(), public_docs=True)

    for path in ("/", "/docs.json", "/static_content/swagger-ui.css"):
        assert client.get(path).status_code == 200, path
    for path in ("/models", "/static_content", "/static_contents/"):
        assert client.get(path).status_code == 401, path


def test_browsers_of_other_sites(client: TestClient) -> None:
    """The gates in front stay as they are; a preflight of a friend needs no key, as it has none."""
    preflight = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-api-key",
    }
    allowed = client.options("/txt2img", headers=preflight)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    foreign = client.options("/txt2img", headers={**preflight, "Origin": "https://evil.test"})
    assert foreign.status_code == 403
    assert "access-control-allow-origin" not in foreign.headers

    # A password that the browser knows opens nothing for other sites.
    evil = {**basic(TEXTS["owner"]), "Origin": "https://evil.test"}
    assert client.post("/txt2img", json=BODY, headers=evil).status_code == 403
    friend = client.get("/models", headers={**bearer("maker"), "Origin": ORIGIN})
    assert "RateLimit" in friend.headers["access-control-expose-headers"]


def test_the_document_asks_for_a_key_where_the_service_does(client: TestClient) -> None:
    document_ = client.get("/docs.json", headers=bearer("reader")).json()

    schemes = document_["components"]["securitySchemes"]
    assert {one["type"] for one in schemes.values()} == {"http", "apiKey"}
    for path, operations in document_["paths"].items():
        for operation in operations.values():
            is_open = path in {"/v2/health/live", "/v2/health/ready"}
            assert operation["security"] == ([] if is_open else [{name: []} for name in schemes])
            assert ("401" in operation["responses"]) is not is_open, path
            if not is_open:
                assert "RateLimit" in operation["responses"]["429"]["headers"]
    assert "/admin/queue" in document_["paths"]


def test_where_there_are_no_keys_there_is_nothing_of_them() -> None:
    backend = ColourBackend()
    client = TestClient(own_host(site_of(Settings(), backend), backend))

    assert client.get("/models").status_code == 200
    assert client.get("/admin/queue").status_code == 404
    document_ = client.get("/docs.json").json()
    assert "securitySchemes" not in document_["components"]
    assert not any(
        "401" in one["responses"] for path in document_["paths"].values() for one in path.values()
    )
