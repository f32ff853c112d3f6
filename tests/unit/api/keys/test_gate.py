"""Who gets in, with what, and what is said to those who do not."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from api.keys.key import id_of, new_key
from contract.errors import ErrorCode
from contract.events import Failed
from tests.unit.api.conftest import ColourBackend, error_of
from tests.unit.api.keys.sites import (
    BODY,
    KEYS,
    TEXTS,
    BusyBackend,
    basic,
    bearer,
    site_client,
)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with site_client(BusyBackend()) as client:
        yield client


def quota(response: httpx2.Response) -> dict[str, dict[str, int]]:
    """What RateLimit and RateLimit-Policy say, by the names of the quotas."""
    told: dict[str, dict[str, int]] = {}
    for header in ("ratelimit-policy", "ratelimit"):
        for item in response.headers[header].split(", "):
            name, *parameters = item.split(";")
            for parameter in parameters:
                key, _, value = parameter.partition("=")
                told.setdefault(name.strip('"'), {})[key] = int(value)
    return told


@pytest.mark.parametrize(
    "headers",
    [
        bearer("maker"),
        {"authorization": f"bearer  {TEXTS['maker']}"},
        {"X-API-Key": TEXTS["maker"]},
        basic(TEXTS["maker"]),
        basic(TEXTS["maker"], user=""),
        # That of a gateway in front.
        {"X-API-Key": TEXTS["maker"], "Authorization": "Bearer e30.e30.e30"},
        {"X-API-Key": "", **bearer("maker")},
    ],
)
def test_the_ways_to_send_a_key(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/models", headers=headers).status_code == 200


NO_KEYS: list[dict[str, Any]] = [
    {},
    {"Authorization": ""},
    {"Authorization": f"Bearer {TEXTS['maker'][:-1]}"},
    {"Authorization": f"Bearer {TEXTS['maker']}x"},
    {"Authorization": TEXTS["maker"]},
    {"Authorization": f"Digest {TEXTS['maker']}"},
    {"Authorization": "Basic !"},
    {"Authorization": "Basic " + base64.b64encode(b"\xff\xff").decode()},
    {"Authorization": f"Bearer {KEYS['maker'].id}"},
    {"Authorization": f"Bearer {KEYS['maker'].sha256}"},
    {"Authorization": f"Bearer {KEYS['maker'].id}_{'A' * 43}"},
    {"X-API-Key": "é".encode()},
    {"Cookie": f"key={TEXTS['maker']}"},
]


def test_what_is_no_key(client: TestClient) -> None:
    for number, headers in enumerate(NO_KEYS):
        # Each from an address of its own: failures count.
        other = TestClient(client.app, client=(f"192.0.2.{100 + number}", 1))
        response = other.get("/models", headers=headers)
        assert response.status_code == 401, headers
        assert error_of(response)["code"] == "unauthorized"
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_two_keys_are_none(client: TestClient) -> None:
    twice = [("X-API-Key", TEXTS["maker"]), ("X-API-Key", TEXTS["owner"])]

    assert client.get("/models", headers=twice).status_code == 401


@pytest.mark.parametrize("name", ["key", "api_key", "X-API-Key", "access_token"])
def test_a_key_in_the_url_is_not_looked_at(client: TestClient, name: str) -> None:
    assert client.get("/models", params={name: TEXTS["maker"]}).status_code == 401


def test_each_protocol_says_it_in_its_own_shape(client: TestClient) -> None:
    native, kserve, admin = (client.get(path) for path in ("/models", "/v2/models", "/admin/queue"))

    assert "X-API-Key" in error_of(native)["message"]
    assert error_of(admin)["code"] == "unauthorized"
    assert isinstance(kserve.json()["error"], str)
    assert kserve.headers["www-authenticate"].startswith("Bearer")
    openai, web_ui = (client.get(path) for path in ("/v1/models", "/sdapi/v1/progress"))
    assert openai.json()["error"]["code"] == "invalid_api_key"
    assert web_ui.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    ("method", "path", "opened_by"),
    [
        ("GET", "/models", {"reader", "maker", "owner"}),
        ("GET", "/v1/models", {"reader", "maker", "owner"}),
        ("POST", "/v2/repository/index", {"reader", "maker", "owner"}),
        ("GET", "/docs.json", {"reader", "maker", "owner"}),
        ("GET", "/static_content/swagger-ui.css", {"reader", "maker", "owner"}),
        ("GET", "/metrics", {"reader", "owner"}),
        ("HEAD", "/metrics", {"reader", "owner"}),
        ("POST", "/txt2img", {"maker", "owner"}),
        ("GET", "/dreambooth", {"maker", "owner"}),
        ("POST", "/classify", {"maker", "owner"}),
        ("POST", "/v2/models/tiny/infer", {"maker", "owner"}),
        ("POST", "/v2/repository/models/tiny/unload", {"owner"}),
        ("POST", "/v1/images/generations", {"maker", "owner"}),
        ("GET", "/sdapi/v1/progress", {"reader", "maker", "owner"}),
        ("POST", "/sdapi/v1/interrupt", {"maker", "owner"}),
        ("GET", "/admin/queue", {"owner"}),
        # There is nothing: whoever has a key may know.
        ("GET", "/nothing", {"reader", "maker", "owner"}),
        ("DELETE", "/txt2img", {"reader", "maker", "owner"}),
    ],
)
def test_scopes(client: TestClient, method: str, path: str, opened_by: set[str]) -> None:
    for name in ("reader", "maker", "owner"):
        response = client.request(method, path, headers=bearer(name))
        refused = response.status_code == 403 and "needs a key of the scope" in response.text
        if method == "HEAD":
            refused = response.status_code == 403
        assert refused is (name not in opened_by), (name, response.status_code, response.text)
        assert response.status_code != 401


def test_a_key_is_the_tenant_with_its_weight_and_places() -> None:
    backend = ColourBackend()
    client = site_client(backend)

    for name in ("maker", "favoured"):
        assert client.post("/txt2img", json=BODY, headers=bearer(name)).status_code == 200
    maker, favoured = backend.requests
    assert (maker.tenant, maker.tenant_weight, maker.tenant_places) == (KEYS["maker"].id, 1, None)
    assert (favoured.tenant, favoured.tenant_weight) == (KEYS["favoured"].id, 3)
    assert favoured.tenant_places == 7


def test_wrong_keys_are_logged_without_themselves_and_bounded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = site_client(ColourBackend())
    wrong, _ = new_key("elsewhere")

    with caplog.at_level(logging.INFO):
        responses = [client.get("/models", headers={"X-API-Key": wrong}) for _ in range(12)]

    assert [response.status_code for response in responses] == [401] * 10 + [429] * 2
    assert 1 <= int(responses[-1].headers["retry-after"]) <= 60
    lines = [one.getMessage() for one in caplog.records if "wrong API key" in one.getMessage()]
    assert len(lines) == 10
    assert "192.0.2.7" in lines[0]
    assert f"({id_of(wrong)})" in lines[0]
    assert wrong.split("_", 2)[2] not in caplog.text
    # Who has one is let in all the same.
    assert client.get("/models", headers=bearer("maker")).status_code == 200


def test_the_rate_of_a_key() -> None:
    client = site_client(ColourBackend())
    responses = [client.get("/models", headers=bearer("limited")) for _ in range(4)]

    assert [response.status_code for response in responses] == [200, 200, 200, 429]
    assert [quota(response)["requests"]["r"] for response in responses] == [2, 1, 0, 0]
    told = quota(responses[0])
    assert (told["requests"]["q"], told["requests"]["w"]) == (3, 60)
    assert (told["pictures"]["q"], told["pictures"]["r"], told["pictures"]["w"]) == (5, 5, 86400)
    assert error_of(responses[3])["code"] == "busy"
    assert 1 <= int(responses[3].headers["retry-after"]) <= 60
    others = client.get("/models", headers=bearer("maker"))
    assert others.status_code == 200
    assert "ratelimit" not in others.headers


def test_pictures_and_pixel_steps_are_counted_when_they_are_accepted() -> None:
    backend = ColourBackend()
    client = site_client(backend)

    def make(**changes: Any) -> httpx2.Response:
        return client.post("/txt2img", json={**BODY, **changes}, headers=bearer("limited"))

    backend.failure, backend.refused = Failed(ErrorCode.BUSY, "full", retry_after=2), True
    refused = make(num_images=2)
    assert (refused.status_code, quota(refused)["pictures"]["r"]) == (429, 5)
    backend.failure = None
    made = make(num_images=3)
    assert (made.status_code, quota(made)["pictures"]["r"]) == (200, 2)
    assert quota(made)["pixel-steps"]["r"] == 64 * 64 * 10
    too_many = make(num_images=2)
    assert too_many.status_code == 429
    assert "pixel-steps" in error_of(too_many)["message"]
    assert 1 <= int(too_many.headers["retry-after"]) <= 86400
    # And none of the other quota is gone.
    assert quota(too_many)["pictures"]["r"] == 2


def test_the_queue_by_key() -> None:
    client = site_client(BusyBackend())
    assert client.post("/txt2img", json=BODY, headers=bearer("maker")).status_code == 200

    queue = client.get("/admin/queue", headers=bearer("owner")).json()["tenants"]

    assert [one["name"] for one in queue] == [*sorted(KEYS), None]
    by_name = {one["name"]: one for one in queue}
    maker = by_name["maker"]
    assert (maker["queued"], maker["running"]) == (3, 1)
    assert maker["today"] == {"requests": 1, "pictures": 1, "pixel_steps": 64 * 64 * 10}
    assert by_name["limited"]["quotas"]["pictures"]["remaining"] == 5
    assert (by_name[None]["id"], by_name[None]["queued"]) == ("sd_0123456789ab", 1)
    assert not any(key.sha256 in str(queue) for key in KEYS.values())
