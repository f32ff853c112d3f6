from __future__ import annotations

import asyncio
import base64
import json
from io import BytesIO
from typing import Any

import PIL.Image
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from contract.errors import ErrorCode
from contract.events import Failed
from settings import Settings
from tests.unit.api.conftest import ColourBackend, error_of, handler_of, native_protocols


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
def test_txt2img_answers_with_the_picture(client: TestClient, file_format: str) -> None:
    body = {"prompt": "x", "seed": 7, "width": 64, "height": 72, "output_format": file_format}
    response = client.post("/txt2img", json=body)

    assert response.status_code == 200
    assert response.headers["content-type"] == f"image/{file_format}"
    assert response.headers["x-seed"] == "7"
    assert response.headers["x-model"] == "tiny"
    assert response.headers["content-disposition"] == f'inline; filename="tiny-7.{file_format}"'
    picture = PIL.Image.open(BytesIO(response.content))
    assert (picture.format or "").lower() == file_format
    assert picture.size == (64, 72)


def test_the_request_id_reaches_the_backend(client: TestClient, backend: ColourBackend) -> None:
    client.post("/txt2img", json={"prompt": "x"}, headers={"X-Request-Id": "my-1"})

    assert backend.requests[0].request_id == "my-1"


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON; charset=utf-8", "application/x+json"],
)
def test_content_types_of_json(client: TestClient, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    response = client.post("/txt2img", content=b'{"prompt": "x"}', headers=headers)

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/txt2img", None),
        ("/txt2img", "application/x-www-form-urlencoded"),
        ("/txt2img", "text/plain"),
        ("/txt2img", "multipart/form-data; boundary=x"),
        ("/img2img", "application/json"),
        ("/img2img", None),
    ],
)
def test_other_content_types(client: TestClient, path: str, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = client.post(path, content=b'{"prompt": "x"}', headers=headers)

    assert response.status_code == 415
    assert error_of(response)["code"] == "unsupported_media_type"


def test_several_pictures_are_json_in_the_order_of_their_seeds(client: TestClient) -> None:
    body = {"prompt": "x", "seed": 7, "num_images": 3, "output_format": "webp"}
    response = client.post("/txt2img", json=body, headers={"X-Request-Id": "my-1"})

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-seed"] == "7"
    assert response.headers["x-model"] == "tiny"
    assert "content-disposition" not in response.headers
    answer = response.json()
    assert (answer["model"], answer["request_id"]) == ("tiny", "my-1")
    for index, image in enumerate(answer["images"]):
        picture = PIL.Image.open(BytesIO(base64.b64decode(image.pop("data"))))
        assert (picture.format, picture.size) == ("WEBP", (128, 128))
        assert image == {
            "index": index,
            "media_type": "image/webp",
            "width": 128,
            "height": 128,
            "seed": 7 + index,
            "prompt": "x",
            "warnings": [],
            "screening": [],
        }
    assert len(answer["images"]) == 3


def test_one_picture_is_json_where_that_is_asked_for(client: TestClient) -> None:
    headers = {"Accept": "application/json"}
    response = client.post("/txt2img", json={"prompt": "x"}, headers=headers)

    (image,) = response.json()["images"]
    assert base64.b64decode(image["data"]).startswith(b"\x89PNG")


def test_warnings_are_in_header_and_body(client: TestClient, backend: ColourBackend) -> None:
    sentence = "prompt: what follows 'é\r\n' was dropped"
    backend.warnings = (sentence,)
    alone = client.post("/txt2img", json={"prompt": "x"})
    several = client.post("/txt2img", json={"prompt": "x", "num_images": 2})

    for response in (alone, several):
        assert response.headers["x-warnings"].isascii()
        assert json.loads(response.headers["x-warnings"]) == [sentence]
    assert [image["warnings"] for image in several.json()["images"]] == [[sentence]] * 2


def test_no_warnings_no_header(client: TestClient) -> None:
    assert "x-warnings" not in client.post("/txt2img", json={"prompt": "x"}).headers


def test_findings_are_in_header_and_body(client: TestClient, backend: ColourBackend) -> None:
    assert "x-screening" not in client.post("/txt2img", json={"prompt": "x"}).headers
    backend.screening = ("grayscale", "blank")
    alone = client.post("/txt2img", json={"prompt": "x"})
    several = client.post("/txt2img", json={"prompt": "x", "num_images": 2})

    for response in (alone, several):
        assert response.headers["x-screening"] == "grayscale, blank"
    assert [image["screening"] for image in several.json()["images"]] == [
        ["grayscale", "blank"]
    ] * 2


@pytest.mark.parametrize(
    "warnings", [("\U0001f34e" * 5_000,), ("short", "x" * 5_000), ("é" * 900, "x" * 900)]
)
def test_long_warnings_are_cut_in_the_header_only(
    client: TestClient, backend: ColourBackend, warnings: tuple[str, ...]
) -> None:
    backend.warnings = warnings
    headers = {"Accept": "application/json"}
    response = client.post("/txt2img", json={"prompt": "x"}, headers=headers)

    value = response.headers["x-warnings"]
    assert len(value) <= 2_000
    for cut, sentence in zip(json.loads(value), warnings, strict=True):
        assert cut == sentence or (cut.endswith("...") and sentence.startswith(cut[:-3]))
    assert tuple(response.json()["images"][0]["warnings"]) == warnings


def test_progress_is_made_for_streams_only(client: TestClient, backend: ColourBackend) -> None:
    client.post("/txt2img", json={"prompt": "x", "previews": False})
    assert not backend.requests[0].wants_progress

    response = client.post("/txt2img", json={"prompt": "x", "previews": True})
    assert response.status_code == 400
    assert error_of(response)["field"] == "previews"
    assert "text/event-stream" in error_of(response)["message"]
    assert len(backend.requests) == 1


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ErrorCode.BUSY, 429),
        (ErrorCode.NOT_READY, 503),
        (ErrorCode.DEADLINE_EXCEEDED, 504),
        (ErrorCode.INTERNAL, 500),
    ],
)
def test_failures_of_the_backend(
    client: TestClient, backend: ColourBackend, code: ErrorCode, status: int
) -> None:
    backend.failure = Failed(code, "detail", retry_after=7)
    response = client.post("/txt2img", json={"prompt": "x"})

    assert response.status_code == status
    assert error_of(response)["code"] == code
    assert ("retry-after" in response.headers) is (status in (429, 503))


def test_an_exception_in_the_backend_stays_inside(
    client: TestClient, backend: ColourBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.failure = ValueError("a secret")
    response = client.post("/txt2img", json={"prompt": "x"})

    assert response.status_code == 500
    assert error_of(response)["message"] == "internal error"
    assert "a secret" in caplog.text


@pytest.mark.parametrize("prompt", ["", "\x00\x01\x1b[31m\r\n", "\U0001f34e é", "a\u202eb"])
@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
def test_prompts_of_odd_characters(client: TestClient, prompt: str, file_format: str) -> None:
    body = {"prompt": prompt, "negative_prompt": prompt, "output_format": file_format}

    assert client.post("/txt2img", json=body).status_code == 200


@pytest.mark.parametrize(
    ("name", "body", "query"),
    [("txt2img", b'{"prompt": "x"}', b""), ("dreambooth", b"", b"prompt=x")],
)
def test_a_client_that_leaves_cancels_its_job(
    settings: Settings, name: str, body: bytes, query: bytes
) -> None:
    backend = ColourBackend()
    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/{name}",
        "headers": [(b"content-type", b"application/json")],
        "query_string": query,
    }

    async def leave() -> int:
        backend.hold = asyncio.Event()
        messages = [{"type": "http.request", "body": body}, {"type": "http.disconnect"}]

        async def receive() -> Any:
            await asyncio.sleep(0)
            return messages.pop(0)

        handler = handler_of(native_protocols(backend, settings), name)
        response: Response = await handler(Request(scope, receive))
        return response.status_code

    assert asyncio.run(leave()) == 499
    assert backend.cancelled == 1


def test_a_client_that_leaves_during_its_upload_starts_no_job(settings: Settings) -> None:
    backend = ColourBackend()
    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/txt2img", "headers": headers}

    async def leave() -> int:
        async def receive() -> Any:
            return {"type": "http.disconnect"}

        handler = handler_of(native_protocols(backend, settings), "txt2img")
        response = await handler(Request(scope, receive))
        return response.status_code

    assert asyncio.run(leave()) == 499
    assert not backend.requests
