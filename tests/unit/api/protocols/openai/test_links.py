"""``response_format: url``: links to pictures that are kept, by OpenAI's client as it is."""

from __future__ import annotations

import base64
import errno
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import openai
import pytest
from starlette.testclient import TestClient

from api.pictures import Pictures
from api.predictions.database import Database
from api.predictions.errors import StoreUnusable
from api.predictions.files import FilesFull, FolderFiles
from api.predictions.measures import NoMeasures
from api.predictions.predictions import Predictions
from api.protocols.base import Protocol
from api.protocols.openai.protocol import OpenAIProtocol
from api.protocols.predictions.acceptance import Acceptance
from api.protocols.predictions.protocol import PredictionsProtocol
from settings import Settings
from tests import uploads
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.protocols.keeping_site import keeping_site, other
from tests.unit.api.protocols.openai.conftest import (
    EDITS,
    data_url,
    error_of,
    generate,
    half_transparent,
)

PICTURE = uploads.encode(uploads.red_and_blue())


class Store:
    """What a test makes of the store; ``files`` are there once it was opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.usable = True
        self.files: FolderFiles | None = None


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def client(backend: ColourBackend, settings: Settings, store: Store) -> Iterator[TestClient]:
    """A client at the address 10.0.0.1."""

    def make() -> Predictions:
        if not store.usable:
            raise StoreUnusable("read-only")
        store.folder.mkdir()
        store.files = FolderFiles(store.folder / "pictures")
        database = Database.in_folder(store.folder)
        return Predictions(backend, settings, database, store.files, NoMeasures())

    def served(pictures: Pictures, acceptance: Acceptance) -> list[Protocol]:
        return [
            PredictionsProtocol(pictures, acceptance, settings),
            OpenAIProtocol(pictures, settings, None, backend.ready, acceptance),
        ]

    with keeping_site(make, backend, settings, served) as client:
        yield client


def test_a_link_leads_to_the_picture(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = openai.OpenAI(
        base_url="http://testserver/v1", api_key="none", max_retries=0, http_client=client
    )
    fields: dict[str, Any] = {"prompt": "a pear", "n": 2, "extra_body": {"seed": 7}}
    files = [one.b64_json or "" for one in ours.images.generate(**fields).data or ()]

    linked = ours.images.generate(**fields, response_format="url").data or []

    assert [one.b64_json for one in linked] == [None, None]
    urls = [one.url or "" for one in linked]
    # Whoever has a link needs nothing else.
    stranger = other(client)
    for url, file in zip(urls, files, strict=True):
        response = stranger.get(url)
        assert response.content == base64.b64decode(file)
        assert response.headers["content-type"] == "image/png"
        etag = response.headers["etag"]
        assert stranger.get(url, headers={"If-None-Match": etag}).status_code == 304
        part = stranger.get(url, headers={"Range": "bytes=1-3"})
        assert (part.status_code, part.content) == (206, b"PNG")
    assert stranger.get(urls[0].replace("/output/0", "/output/1")).status_code == 403
    identifier = urls[0].split("/predictions/")[1].partition("/")[0]
    assert stranger.get(f"/predictions/{identifier}").status_code == 404

    # The picture stays when the link has expired, and whose it is gets a new one.
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 3601)
    expired = stranger.get(urls[0])
    assert (expired.status_code, expired.json()["field"]) == (410, "expires")
    monkeypatch.undo()
    kept = client.get(f"/predictions/{identifier}").json()
    assert (kept["status"], kept["input"]["n"], kept["input"]["seed"]) == ("succeeded", 2, 7)
    assert stranger.get(kept["output"][1]).content == base64.b64decode(files[1])
    assert [one["id"] for one in client.get("/predictions").json()["results"]] == [identifier]
    assert client.delete(f"/predictions/{identifier}").status_code == 204
    assert stranger.get(urls[0]).status_code == 404


def test_links_to_edits_and_variations(client: TestClient) -> None:
    """What is kept says which pictures it was made of, and does not have them."""
    image = ("a.png", PICTURE, "image/png")
    mask = ("m.png", half_transparent(), "image/png")
    fields = {"prompt": "a pear", "response_format": "url", "seed": "3"}
    reference = {"image_url": data_url(PICTURE)}
    body = {"prompt": "a pear", "response_format": "url", "seed": 3, "images": [reference]}
    responses = [
        client.post(EDITS, data=fields, files={"image": image, "mask": mask}),
        client.post(EDITS, json={**body, "mask": {"image_url": data_url(half_transparent())}}),
        client.post("/v1/images/variations", data=fields, files={"image": image}),
    ]
    pictures = [client.get(one.json()["data"][0]["url"]).content for one in responses]
    assert pictures[0] == pictures[1] != pictures[2]
    kept = [one["input"] for one in client.get("/predictions").json()["results"]]
    assert [sorted(one.keys() & {"image", "images", "mask"}) for one in reversed(kept)] == [
        ["image", "mask"],
        ["images", "mask"],
        ["image"],
    ]
    assert all(str(one.get("image", one.get("images"))).startswith("sha256:") for one in kept)


def test_only_links_touch_the_store(client: TestClient, store: Store) -> None:
    assert generate(client).status_code == 200
    assert generate(client, response_format="b64_json").status_code == 200
    assert not store.folder.exists()
    assert generate(client, response_format="url").status_code == 200
    assert store.folder.exists()


def test_no_links_where_nothing_can_be_kept(
    client: TestClient, store: Store, backend: ColourBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is said before pictures are made, where it can be known."""
    streamed = generate(client, response_format="url", stream=True)
    assert (streamed.status_code, error_of(streamed)["param"]) == (400, "response_format")
    unknown = generate(client, response_format="link")
    assert error_of(unknown)["message"].startswith("response_format must be one of b64_json, url")
    store.usable = False
    refused = generate(client, response_format="url")
    assert (refused.status_code, "SD_STORE" in error_of(refused)["message"]) == (503, True)
    assert not backend.requests

    store.usable = True
    assert generate(client, response_format="url").status_code == 200

    for error, status in ((FilesFull("full"), 507), (OSError(errno.EIO, "broken"), 503)):
        put = AsyncMock(side_effect=error)
        monkeypatch.setattr(store.files, "put", put)
        refused = generate(client, response_format="url")
        assert (refused.status_code, error_of(refused)["type"]) == (status, "server_error")
        assert int(refused.headers["retry-after"]) > 0
