"""Predictions of clients with keys: whose they are, who may see their pictures, what they cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from starlette.testclient import TestClient

from api.keys.key import new_key
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.keys.sites import own_host, site_of, with_keys

ANNA, ANNAS_KEY = new_key("anna")
BEN, BENS_KEY = new_key("ben", pictures_per_day=3)
ORDER = {"input": {"prompt": "a pear", "num_images": 2}}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    store = {"store": str(tmp_path_factory.mktemp("store"))}
    settings = with_keys([ANNAS_KEY, BENS_KEY]).model_copy(update=store)
    backend = ColourBackend()
    site = site_of(settings, backend)
    with TestClient(own_host(site, backend), raise_server_exceptions=False) as client:
        yield client
        client.portal.call(site.close, 0)  # type: ignore[union-attr]


def test_a_picture_is_for_its_client_and_for_whoever_has_the_link(client: TestClient) -> None:
    anna, ben = ({"Authorization": f"Bearer {text}"} for text in (ANNA, BEN))
    url = client.post("/predictions", json=ORDER, headers=anna).headers["location"]
    assert client.get(url).status_code == 401
    assert client.get(url, headers=ben).status_code == 404
    give_up = time.monotonic() + 30
    while (state := client.get(url, headers=anna).json())["status"] != "succeeded":
        assert time.monotonic() < give_up, state
        time.sleep(0.02)

    link = urlsplit(state["output"][0])
    signed = dict(parse_qsl(link.query))
    assert client.get(link.path, params=signed).content.startswith(b"\x89PNG")
    assert client.get(link.path, params={**signed, "signature": "0a1b"}).status_code == 403
    assert client.get(link.path).status_code == 401
    assert client.get(link.path, headers=ben).status_code == 404
    assert client.get(link.path, headers=anna).status_code == 200
    # A signature is no key to anything else.
    assert client.get(url, params=signed).status_code == 401


def test_pictures_are_charged_when_they_are_ordered_and_once(client: TestClient) -> None:
    headers = {"X-API-Key": BEN, "Idempotency-Key": "one"}

    first, again = (client.post("/predictions", json=ORDER, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert '"pictures";r=1' in again.headers["ratelimit"]
    other = client.post("/predictions", json=ORDER, headers={"X-API-Key": BEN})
    assert other.status_code == 429
    assert 1 <= int(other.headers["retry-after"]) <= 86400


def test_a_restart_begins_no_new_day(tmp_path: Path) -> None:
    settings = with_keys([BENS_KEY]).model_copy(update={"store": str(tmp_path)})
    headers = {"X-API-Key": BEN}
    left = []
    for _ in range(2):
        backend = ColourBackend()
        site = site_of(settings, backend)
        with TestClient(own_host(site, backend), raise_server_exceptions=False) as client:
            client.portal.call(site.open)  # type: ignore[union-attr]
            made = client.post("/txt2img", json={"prompt": "a pear"}, headers=headers)
            left.append(made.headers["ratelimit"].partition(";t=")[0])
            client.portal.call(site.close, 0)  # type: ignore[union-attr]
    assert left == ['"pictures";r=2', '"pictures";r=1']
