"""What browsers say of where a request comes from, and what is let in. The real ones: tests/e2e."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.app import create_app, middleware
from api.drain import Drain
from api.protocols.base import Protocols
from settings import Settings
from tests.unit.api.conftest import ColourBackend, error_of

OTHER = "https://other.test"
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
FOREIGN: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Origin": "null"},
    {"Origin": "http://testserver:8080"},
    {"Origin": "http://testserver.evil.test"},
    {"Origin": "ftp://testserver"},
    {"Origin": OTHER},
    {"Origin": ""},
]
OWN: list[dict[str, str]] = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none", **NAVIGATION},
    {"Origin": "http://testserver"},
    {"Origin": "HTTP://TestServer"},
    # A proxy took the TLS away, or wrote a host of its own.
    {"Origin": "https://testserver"},
    {"Origin": "https://public.test", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "https://testserver", "Host": "testserver:443"},
]
REQUESTS = [
    ("POST", "/txt2img"),
    ("POST", "/img2img"),
    ("GET", "/dreambooth?prompt=x"),
    ("GET", "/imagine?prompt=x"),
    ("POST", "/dreambooth?prompt=x"),
    ("POST", "/classify"),
    ("GET", "/models"),
    ("GET", "/docs.json"),
    ("GET", "/"),
    ("OPTIONS", "/txt2img"),
    ("GET", "/nothing"),
]


@pytest.fixture
def sharing(protocols: Protocols) -> TestClient:
    """An application whose responses the pages of ``OTHER`` may read."""
    settings = Settings(allowed_origins=(OTHER,))
    app: FastAPI = create_app(protocols, "./static_content")
    app.user_middleware.extend(middleware(settings, Drain(), protocols))
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_other_sites_are_refused(
    client: TestClient,
    backend: ColourBackend,
    method: str,
    path: str,
    headers: dict[str, str],
) -> None:
    response = client.request(method, path, headers=headers)

    assert response.status_code == 403
    assert error_of(response)["code"] == "forbidden"
    assert "SD_ALLOWED_ORIGINS" in error_of(response)["message"]
    assert "access-control-allow-origin" not in response.headers
    assert not backend.requests


@pytest.mark.parametrize("headers", OWN)
def test_its_own_page_and_other_clients_are_served(
    client: TestClient, headers: dict[str, str]
) -> None:
    assert client.post("/txt2img", json={"prompt": "x"}, headers=headers).status_code == 200
    assert client.get("/dreambooth?prompt=x", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/docs.json", 200),
        ("GET", "/models", 200),
        ("GET", "/nothing", 404),
        ("GET", "/dreambooth?prompt=x", 403),
        ("HEAD", "/dreambooth?prompt=x", 403),
        ("POST", "/dreambooth?prompt=x", 403),
        ("GET", "/txt2img", 403),
        ("POST", "/models", 403),
    ],
)
def test_links_lead_to_what_starts_no_work(
    client: TestClient, backend: ColourBackend, method: str, path: str, status: int
) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", **NAVIGATION}
    response = client.request(method, path, headers=headers, follow_redirects=False)

    assert response.status_code == status
    assert not backend.requests


def test_allowed_origins_read_all(sharing: TestClient) -> None:
    headers = {"Origin": OTHER, "Sec-Fetch-Site": "cross-site"}
    for body, status in (({"prompt": "x"}, 200), ({"prompt": 7}, 400)):
        response = sharing.post("/txt2img", json=body, headers=headers)
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == OTHER
        assert response.headers["cross-origin-resource-policy"] == "cross-origin"
        exposed = response.headers["access-control-expose-headers"].lower().split(", ")
        # The others of every response are for the browser.
        own = {name for name in response.headers if name.startswith("x-")}
        assert own - set(exposed) == {"x-content-type-options", "x-frame-options"}
        assert {"retry-after", "x-loras", "x-screening", "x-warnings"} <= set(exposed)


def test_allowed_origins_may_ask_first(sharing: TestClient) -> None:
    headers = {
        "Origin": OTHER,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-request-id",
    }
    response = sharing.options("/txt2img", headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == OTHER

    refused = sharing.options("/txt2img", headers={**headers, "Origin": "https://evil.test"})
    assert refused.status_code == 403
    assert error_of(refused)["code"] == "forbidden"


def test_responses_depend_on_the_origin_where_some_are_allowed(sharing: TestClient) -> None:
    assert sharing.get("/models").headers["vary"] == "Origin"
    assert sharing.get("/models", headers={"Origin": OTHER}).headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", ["https://other.test.evil.test", "http://other.test", "null"])
def test_other_origins_are_refused_where_one_is_allowed(sharing: TestClient, origin: str) -> None:
    assert sharing.post("/txt2img", json={}, headers={"Origin": origin}).status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 200), ("GET", "/models", 200), ("GET", "/no", 404), ("PUT", "/models", 405)],
)
def test_every_response_has_the_headers(
    client: TestClient, method: str, path: str, status: int
) -> None:
    response = client.request(method, path)

    assert response.status_code == status
    expected: dict[str, Any] = {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
    }
    assert expected.items() <= response.headers.items()
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert ("script-src" in policy) is (path == "/")
