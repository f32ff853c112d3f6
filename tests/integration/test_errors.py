"""Every way a request can be wrong, against each host: status, code, field, body.

BentoML has layers of its own in front, which would make other responses of some of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.errors import STATUS
from tests import uploads
from tests.integration.server import Server

PICTURE = uploads.encode(uploads.red_and_blue())
JSON = {"Content-Type": "application/json"}
OK = '{"prompt": "x"}'


def check(response: httpx.Response, status: int, code: str, field: str | None) -> None:
    """The native error body, and nothing else."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert error["code"] == code
    assert error.get("field") == field
    assert error["request_id"] == response.headers["x-request-id"]
    assert set(error) <= {"code", "message", "field", "request_id"}
    assert "Traceback" not in response.text


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"bogus": 1}, 400, "invalid_request", "bogus"),
        ({"strength": 0.5}, 400, "invalid_request", "strength"),
        ({"prompt": None}, 400, "invalid_request", "prompt"),
        ({"prompt": 7}, 400, "invalid_request", "prompt"),
        ({"width": "64"}, 400, "invalid_request", "width"),
        ({"seed": True}, 400, "invalid_request", "seed"),
        ({"guidance_scale": "7"}, 400, "invalid_request", "guidance_scale"),
        ({"num_inference_steps": 2.5}, 400, "invalid_request", "num_inference_steps"),
        ({"prompt": "x" * 2001}, 422, "out_of_range", "prompt"),
        ({"negative_prompt": "x" * 2001}, 422, "out_of_range", "negative_prompt"),
        ({"width": 56}, 422, "out_of_range", "width"),
        ({"width": 4096}, 422, "out_of_range", "width"),
        ({"width": 100}, 422, "out_of_range", "width"),
        ({"height": -64}, 422, "out_of_range", "height"),
        ({"height": 2056}, 422, "out_of_range", "height"),
        ({"height": 65}, 422, "out_of_range", "height"),
        ({"width": 2048, "height": 2048}, 422, "out_of_range", "width"),
        ({"num_inference_steps": 0}, 422, "out_of_range", "num_inference_steps"),
        ({"num_inference_steps": 151}, 422, "out_of_range", "num_inference_steps"),
        (
            {"num_inference_steps": 51, "scheduler": "lcm"},
            422,
            "out_of_range",
            "num_inference_steps",
        ),
        ({"guidance_scale": -1}, 422, "out_of_range", "guidance_scale"),
        ({"guidance_scale": 1e300}, 422, "out_of_range", "guidance_scale"),
        ({"seed": -2}, 422, "out_of_range", "seed"),
        ({"seed": 2**53}, 422, "out_of_range", "seed"),
        ({"seed": 10**40}, 422, "out_of_range", "seed"),
        ({"scheduler": "k_euler"}, 422, "out_of_range", "scheduler"),
        ({"seed": 2**53 - 1, "num_images": 2}, 422, "out_of_range", "seed"),
        ({"num_images": 0}, 422, "out_of_range", "num_images"),
        ({"num_images": 9}, 422, "out_of_range", "num_images"),
        ({"loras": [{"name": "x"}] * 5}, 422, "out_of_range", "loras"),
        ({"loras": [{"name": "x"}] * 65}, 422, "out_of_range", "loras"),
        ({"loras": [{}] * 65}, 400, "invalid_request", "loras.0.name"),
        ({"num_images": "2"}, 400, "invalid_request", "num_images"),
        ({"previews": True}, 400, "invalid_request", "previews"),
        ({"previews": 1}, 400, "invalid_request", "previews"),
        ({"output_format": "gif"}, 422, "out_of_range", "output_format"),
        ({"model": "no-such-model"}, 404, "not_found", "model"),
        ({"model": "../../etc/passwd"}, 404, "not_found", "model"),
    ],
)
def test_fields_of_txt2img(
    any_host: Server, fields: dict[str, Any], status: int, code: str, field: str
) -> None:
    response = any_host.client.post("/txt2img", json={"prompt": "x", **fields})

    check(response, status, code, field)
    assert field in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"prompt": "\xff\xfe"}',
        b'{"prompt": "\\ud800"}',
        b"[" * 50_000,
        b'{"prompt": "x", "seed": ' + b"1" * 10_000 + b"}",
        b"[]",
        b"null",
    ],
)
def test_malformed_json(any_host: Server, body: bytes) -> None:
    check(
        any_host.client.post("/txt2img", content=body, headers=JSON), 400, "invalid_request", None
    )
    files: dict[str, Any] = {"img": PICTURE, "data": body}
    check(any_host.client.post("/img2img", files=files), 400, "invalid_request", None)
    files["mask"] = PICTURE
    check(any_host.client.post("/inpaint", files=files), 400, "invalid_request", None)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none(any_host: Server, value: str) -> None:
    body = f'{{"prompt": "x", "guidance_scale": {value}}}'.encode()
    response = any_host.client.post("/txt2img", content=body, headers=JSON)

    check(response, 422, "out_of_range", "guidance_scale")


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/txt2img", "application/x-www-form-urlencoded"),
        ("/txt2img", "text/plain"),
        ("/img2img", "application/json"),
        ("/img2img", "image/png"),
        ("/inpaint", "application/json"),
        ("/txt2img", b"text/\x89"),
    ],
)
def test_wrong_content_type(any_host: Server, path: str, content_type: Any) -> None:
    headers = {"Content-Type": content_type}
    response = any_host.client.post(path, content=OK.encode(), headers=headers)

    check(response, 415, "unsupported_media_type", "Content-Type")


@pytest.mark.parametrize("path", ["/txt2img", "/img2img", "/inpaint", "/classify"])
def test_no_content_type(any_host: Server, path: str) -> None:
    response = any_host.client.post(path, content=OK.encode())

    check(response, 415, "unsupported_media_type", "Content-Type")
    assert response.json()["error"]["message"].startswith("Content-Type must be ")


@pytest.mark.parametrize(
    ("files", "field"),
    [
        ({"img": PICTURE}, "data"),
        ({"data": OK}, "img"),
        ({"image": PICTURE, "data": OK}, "image"),
        ({"img": PICTURE, "data": "{}"}, "prompt"),
        ({"img": PICTURE, "data": '{"prompt": "x", "extra": 1}'}, "extra"),
    ],
)
def test_wrong_parts(any_host: Server, files: dict[str, Any], field: str) -> None:
    check(any_host.client.post("/img2img", files=files), 400, "invalid_request", field)
    files = {**files, "mask": PICTURE}
    check(any_host.client.post("/inpaint", files=files), 400, "invalid_request", field)


def test_the_mask_belongs_to_inpaint_and_is_needed_there(any_host: Server) -> None:
    files: dict[str, Any] = {"img": PICTURE, "data": OK}
    check(any_host.client.post("/inpaint", files=files), 400, "invalid_request", "mask")
    files["mask"] = PICTURE
    check(any_host.client.post("/img2img", files=files), 400, "invalid_request", "mask")


def test_a_mask_of_another_size(any_host: Server) -> None:
    mask = uploads.ODD["rotated-jpeg"][0]
    response = any_host.client.post("/inpaint", files={"img": PICTURE, "mask": mask, "data": OK})

    check(response, 422, "out_of_range", "mask")
    assert "40 x 20" in response.json()["error"]["message"]
    assert "20 x 40" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"", "multipart/form-data; boundary=B"),
        (b"whatever", "multipart/form-data"),
        (b"--B\r\nContent-Disposition: form-da", "multipart/form-data; boundary=B"),
        (b"--B\r\n\r\n\r\n--B--\r\n", "multipart/form-data; boundary=B"),
    ],
)
def test_malformed_multipart(any_host: Server, content: bytes, headers: str) -> None:
    response = any_host.client.post("/img2img", content=content, headers={"Content-Type": headers})

    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"strength": 0}, "strength"),
        ({"strength": 1.01}, "strength"),
        ({"strength": 0.01, "num_inference_steps": 20}, "strength"),
        ({"width": 63}, "width"),
    ],
)
def test_fields_of_img2img(any_host: Server, fields: dict[str, Any], field: str) -> None:
    files: dict[str, Any] = {"img": PICTURE, "data": json.dumps({"prompt": "x", **fields})}

    check(any_host.client.post("/img2img", files=files), 422, "out_of_range", field)
    files["mask"] = PICTURE
    check(any_host.client.post("/inpaint", files=files), 422, "out_of_range", field)


@pytest.mark.parametrize("name", uploads.BROKEN)
def test_broken_input_pictures(any_host: Server, name: str) -> None:
    data, code = uploads.BROKEN[name]
    response = any_host.client.post("/img2img", files={"img": data, "data": OK})

    check(response, STATUS[code], code, "img")


@pytest.mark.parametrize("name", uploads.BROKEN)
def test_broken_masks(any_host: Server, name: str) -> None:
    data, code = uploads.BROKEN[name]
    response = any_host.client.post("/inpaint", files={"img": PICTURE, "mask": data, "data": OK})

    check(response, STATUS[code], code, "mask")


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"bogus": 1}, 400, "invalid_request", "bogus"),
        ({"width": 100}, 422, "out_of_range", "width"),
        ({"model": "no-such-model"}, 404, "not_found", "model"),
    ],
)
def test_a_stream_that_does_not_start(
    any_host: Server, fields: dict[str, Any], status: int, code: str, field: str
) -> None:
    headers = {"Accept": "text/event-stream"}
    response = any_host.client.post("/txt2img", json={"prompt": "x", **fields}, headers=headers)

    check(response, status, code, field)


def test_oversize_bodies(any_host: Server) -> None:
    limits = any_host.client.get("/models").json()["limits"]
    limit = limits["max_body_bytes"]

    def chunks() -> Iterator[bytes]:
        sent = 0
        while sent <= limit:
            yield bytes(64 * 1024)
            sent += 64 * 1024

    form = {"Content-Type": "multipart/form-data; boundary=B"}
    for response in (
        any_host.client.post("/txt2img", content=bytes(limit + 1), headers=JSON),
        any_host.client.post("/txt2img", content=chunks(), headers=JSON),
        any_host.client.post("/img2img", content=chunks(), headers=form),
    ):
        check(response, 413, "payload_too_large", None)

    most = limits["max_json_bytes"]
    text = json.dumps({"prompt": "x"}).ljust(most + 1)
    response = any_host.client.post("/txt2img", content=text, headers=JSON)
    check(response, 413, "payload_too_large", None)
    assert f"at most {most} bytes long, got {most + 1}" in response.json()["error"]["message"]
    response = any_host.client.post("/img2img", files={"img": PICTURE, "data": text})
    check(response, 413, "payload_too_large", "data")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/no/such/path", 404, "not_found"),
        ("POST", "/v9/txt2img", 404, "not_found"),
        ("GET", "/txt2img", 405, "method_not_allowed"),
        ("GET", "/inpaint", 405, "method_not_allowed"),
        ("PUT", "/img2img", 405, "method_not_allowed"),
        ("POST", "/models", 405, "method_not_allowed"),
        ("POST", "/docs.json", 405, "method_not_allowed"),
    ],
)
def test_unknown_paths_and_methods(
    any_host: Server, method: str, path: str, status: int, code: str
) -> None:
    check(any_host.client.request(method, path), status, code, None)


def test_the_host_is_none_the_worse(any_host: Server) -> None:
    response = any_host.client.post("/txt2img", json={"prompt": "x", "num_inference_steps": 1})

    assert response.status_code == 200
    assert any_host.client.get("/readyz").status_code == 200
