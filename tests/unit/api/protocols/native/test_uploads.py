"""Forms with pictures: their parts, and errors that name them."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any

import httpx2
import PIL.Image
import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from settings import Settings
from tests import uploads
from tests.unit.api.conftest import TINY, ColourBackend, error_of, handler_of, native_protocols

SLOW = uploads.progressive(90, side=4000)
PICTURE = uploads.encode(uploads.red_and_blue())


@pytest.mark.parametrize(
    "data", [(None, '{"prompt": "x"}'), ("blob", '{"prompt": "x"}', "application/json")]
)
def test_img2img_takes_data_as_text_and_as_file(
    client: TestClient, backend: ColourBackend, data: tuple[Any, ...]
) -> None:
    response = client.post("/img2img", files={"img": ("in.png", PICTURE), "data": data})

    assert response.status_code == 200
    assert backend.requests[0].strength == TINY.defaults.strength
    assert PIL.Image.open(BytesIO(response.content)).size == (184, 88)


def test_img2img_names_the_missing_part(client: TestClient) -> None:
    response = client.post("/img2img", files={"img": ("in.png", PICTURE)})

    assert response.status_code == 400
    assert error_of(response)["field"] == "data"


def test_inpaint(client: TestClient, backend: ColourBackend) -> None:
    files: dict[str, Any] = {"img": PICTURE, "mask": PICTURE, "data": '{"prompt": "x"}'}
    response = client.post("/inpaint", files=files)

    assert response.status_code == 200
    assert backend.requests[0].strength == 1
    assert backend.requests[0].mask is not None
    assert PIL.Image.open(BytesIO(response.content)).size == (184, 88)


@pytest.mark.parametrize("name", ["img", "mask", "data"])
def test_inpaint_names_the_missing_part(client: TestClient, name: str) -> None:
    files: dict[str, Any] = {"img": PICTURE, "mask": PICTURE, "data": '{"prompt": "x"}'}
    del files[name]
    response = client.post("/inpaint", files=files)

    assert response.status_code == 400
    assert error_of(response)["field"] == name


@pytest.mark.parametrize(
    ("pictures", "field", "message"),
    [
        ({"mask": uploads.encode(PIL.Image.new("L", (20, 40)))}, "mask", None),
        ({"img": b"no picture"}, "img", "img must be a picture in one of the formats"),
        ({"img": b""}, "img", "img is empty"),
    ],
)
def test_errors_name_the_parts_of_the_form(
    client: TestClient, pictures: dict[str, bytes], field: str, message: str | None
) -> None:
    files = {"img": PICTURE, "mask": PICTURE, "data": b'{"prompt": "x"}', **pictures}
    error = error_of(client.post("/inpaint", files=files))

    assert error["field"] == field
    size = "x".join(map(str, uploads.red_and_blue().size)).replace("x", " x ")
    expected = message or f"mask must have the size of img, {size} pixels, got 20 x 40"
    assert error["message"].startswith(expected)


def test_that_no_place_is_left_is_said_before_the_body_is_read(backend: ColourBackend) -> None:
    settings = Settings(max_queue=2, max_images=1)
    protocols = native_protocols(backend, settings)
    form = httpx2.Request("POST", "http://host", files={"img": SLOW, "data": '{"prompt": "x"}'})
    headers = [(b"content-type", form.headers["content-type"].encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}

    async def run() -> None:
        bodies = [{"type": "http.request", "body": form.read(), "more_body": False}]

        async def receive() -> Any:
            if not bodies:
                await asyncio.Event().wait()
            return bodies.pop()

        async def unread() -> Any:
            raise AssertionError("must not be called")

        first = asyncio.ensure_future(handler_of(protocols, "img2img")(Request(scope, receive)))
        while bodies:
            await asyncio.sleep(0.01)
        for name in ("img2img", "inpaint"):
            response = await handler_of(protocols, name)(Request(scope, unread))
            assert response.status_code == 429
            assert response.headers["retry-after"] == "2"
            assert b"at most 1 requests of one client may wait" in response.body
        first.cancel()
        await asyncio.wait([first])

    asyncio.run(run())
