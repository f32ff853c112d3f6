"""The events of the native protocol: their names and data."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import PIL.Image
import pytest
from starlette.testclient import TestClient

from contract.errors import ErrorCode
from contract.events import Failed
from tests import uploads
from tests.unit.api.conftest import PREVIEW, ColourBackend
from tests.unit.api.sse import ACCEPT, names, parse


def test_from_the_queue_to_the_picture(client: TestClient, backend: ColourBackend) -> None:
    body = {"prompt": "x", "seed": 7, "width": 64, "height": 72}
    response = client.post("/txt2img", json=body, headers=ACCEPT)

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-seed"] == "7"
    assert response.headers["x-model"] == "tiny"
    assert "content-length" not in response.headers
    *running, (last, image) = parse(response.text)
    assert running == [
        ("queued", {"position": 0}),
        ("progress", {"index": 0, "step": 1, "total": 2}),
        ("progress", {"index": 0, "step": 2, "total": 2}),
    ]
    assert last == "image"
    assert PIL.Image.open(BytesIO(base64.b64decode(image.pop("data")))).size == (64, 72)
    assert image == {
        "index": 0,
        "media_type": "image/png",
        "width": 64,
        "height": 72,
        "seed": 7,
        "prompt": "x",
        "warnings": [],
        "screening": [],
    }
    assert backend.requests[0].wants_progress
    assert not backend.requests[0].wants_previews


@pytest.mark.parametrize("path", ["/img2img", "/inpaint"])
def test_pictures_from_pictures_have_streams_too(client: TestClient, path: str) -> None:
    picture = uploads.encode(uploads.red_and_blue())
    files: dict[str, Any] = {"img": picture, "data": '{"prompt": "x"}'}
    if path == "/inpaint":
        files["mask"] = picture
    response = client.post(path, files=files, headers=ACCEPT)

    assert names(response.text) == ["queued", "progress", "progress", "image"]


def test_several_pictures_come_as_they_are_done(client: TestClient, backend: ColourBackend) -> None:
    backend.warnings = ("'é' was dropped",)
    backend.screening = ("blank",)
    body = {"prompt": "x", "seed": 7, "num_images": 3}
    response = client.post("/txt2img", json=body, headers=ACCEPT)

    images = [data for name, data in parse(response.text) if name == "image"]
    assert [(image["index"], image["seed"]) for image in images] == [(2, 9), (1, 8), (0, 7)]
    assert all(image["warnings"] == ["'é' was dropped"] for image in images)
    assert all(image["screening"] == ["blank"] for image in images)


def test_previews_where_they_are_wanted(client: TestClient, backend: ColourBackend) -> None:
    body = {"prompt": "x", "previews": True}
    response = client.post("/txt2img", json=body, headers=ACCEPT)

    previews = [data["preview"] for name, data in parse(response.text) if name == "progress"]
    assert [base64.b64decode(preview) for preview in previews] == [PREVIEW, PREVIEW]
    assert backend.requests[0].wants_previews


def test_what_is_refused_gets_an_answer_of_its_own(
    client: TestClient, backend: ColourBackend
) -> None:
    invalid = client.post("/txt2img", json={"prompt": "x", "width": 1}, headers=ACCEPT)
    backend.failure = Failed(ErrorCode.BUSY, "the queue is full", retry_after=7)
    backend.refused = True
    busy = client.post("/txt2img", json={"prompt": "x"}, headers=ACCEPT)

    assert (invalid.status_code, busy.status_code) == (422, 429)
    assert busy.headers["retry-after"] == "7"
    for response in (invalid, busy):
        assert response.headers["content-type"] == "application/json"
        assert response.json()["error"]["request_id"] == response.headers["x-request-id"]


def test_what_fails_later_says_so_in_the_stream(client: TestClient, backend: ColourBackend) -> None:
    backend.failure = Failed(ErrorCode.DEADLINE_EXCEEDED, "too late")
    response = client.post("/txt2img", json={"prompt": "x"}, headers=ACCEPT)

    assert response.status_code == 200
    *_, (name, data) = parse(response.text)
    assert name == "error"
    assert data["error"] == {
        "code": "deadline_exceeded",
        "message": "too late",
        "request_id": response.headers["x-request-id"],
    }


@pytest.mark.parametrize(
    "failure", [ValueError("a secret"), Failed(ErrorCode.INTERNAL, "a secret")]
)
def test_our_own_faults_stay_inside(
    client: TestClient,
    backend: ColourBackend,
    failure: Failed | Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend.failure = failure
    response = client.post("/txt2img", json={"prompt": "x"}, headers=ACCEPT)

    *_, (name, data) = parse(response.text)
    assert (name, data["error"]["code"]) == ("error", "internal")
    assert "a secret" not in response.text
    assert "a secret" in caplog.text
