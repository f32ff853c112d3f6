"""Screening over HTTP: settings, what clients are told, what is measured."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import PIL.Image
import pytest

from tests import uploads
from tests.conftest import composite
from tests.integration.server import Server, serving
from tests.integration.test_pictures import metadata, open_picture

GRAY = uploads.encode(composite("umbrella", "gray").convert("L").convert("RGB"))
COLOURED = uploads.encode(composite("umbrella", "blue"))
PEACH = uploads.encode(composite("peach", "purple"))  # which NudeNet takes for something else
EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def screened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(
        tmp_path_factory.mktemp("screened"),
        host="local",
        SD_SCREEN_GRAYSCALE="flag",
        SD_SCREEN_NSFW="reject",
    ) as server:
        yield server


def keep(server: Server, picture: bytes, headers: dict[str, str] | None = None, **body: Any) -> Any:
    """Have nothing of this picture inpainted."""
    files: dict[str, Any] = {
        "img": picture,
        "mask": uploads.encode(PIL.Image.new("L", (64, 64), 0)),
        "data": (None, json.dumps({"prompt": "x", "num_inference_steps": 2, **body})),
    }
    return server.client.post("/inpaint", files=files, headers=headers)


def test_what_is_found_is_said(screened: Server) -> None:
    gray = keep(screened, GRAY)
    assert gray.status_code == 200
    assert gray.headers["x-screening"] == "grayscale"
    assert metadata(open_picture(gray.content)).endswith(', Screening: "grayscale"')
    listed = keep(screened, GRAY, num_images=2).json()
    assert [image["screening"] for image in listed["images"]] == [["grayscale"]] * 2
    stream = keep(screened, GRAY, EVENTS).text
    image = json.loads(stream.partition("event: image\ndata: ")[2].partition("\n")[0])
    assert image["screening"] == ["grayscale"]
    assert PIL.Image.open(BytesIO(base64.b64decode(image["data"]))).size == (64, 64)

    coloured = keep(screened, COLOURED)
    assert coloured.status_code == 200
    assert "x-screening" not in coloured.headers


def test_a_rejected_picture_is_an_error(screened: Server) -> None:
    for count in (1, 2):
        response = keep(screened, PEACH, num_images=count)
        assert response.status_code == 400
        error = response.json()["error"]
        assert error["code"] == "content_policy_violation"
        assert "(nsfw)" in error["message"]
    assert '"code": "content_policy_violation"' in keep(screened, PEACH, EVENTS).text


def test_previews_are_refused(screened: Server) -> None:
    response = keep(screened, COLOURED, EVENTS, previews=True)
    assert response.status_code == 400
    assert response.json()["error"]["field"] == "previews"


def test_it_is_announced_and_measured(screened: Server) -> None:
    (model,) = screened.client.get("/models").json()["models"]
    assert model["screening"] == {"grayscale": "flag", "blank": "off", "nsfw": "reject"}
    # Of rejected requests some pictures may still be looked at; of answered ones none.
    found = screened.metric("sd_screened_images_total", check="grayscale", action="flag")
    assert keep(screened, GRAY).status_code == 200
    after = screened.metric("sd_screened_images_total", check="grayscale", action="flag")
    assert after == found + 1
    assert keep(screened, PEACH).status_code == 400
    assert screened.metric("sd_screened_images_total", check="nsfw", action="reject") > 0
    assert screened.metric("sd_job_phase_seconds_count", phase="screen") > 0
