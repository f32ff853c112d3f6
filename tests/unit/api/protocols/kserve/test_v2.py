"""Version 2: tensors in, tensors out."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import zlib
from io import BytesIO
from typing import Any

import PIL.Image
import pytest
from starlette.testclient import TestClient

from contract.errors import ErrorCode
from contract.events import Failed
from settings import Settings
from tests import uploads
from tests.unit.api.conftest import ColourBackend, make_lora
from tests.unit.api.protocols.kserve.conftest import (
    LENGTH,
    PROMPT,
    URL,
    binary,
    bytes_tensor,
    error_of,
    infer,
    outputs,
    tensor,
)

PICTURE = uploads.encode(uploads.red_and_blue())
# Without a time: tests are told apart by their parameters.
_GZIP = gzip.compress(b"{}", mtime=0)


def unpacked(response: Any) -> dict[str, bytes]:
    """The binary data of each output."""
    assert response.status_code == 200, response.text
    length = int(response.headers[LENGTH])
    tensors, offset = {}, length
    for output in json.loads(response.content[:length])["outputs"]:
        assert "data" not in output
        size = output["parameters"]["binary_data_size"]
        tensors[output["name"]] = response.content[offset : offset + size]
        offset += size
    assert offset == len(response.content)
    return tensors


def test_json_in_json_out(client: TestClient, backend: ColourBackend) -> None:
    response = infer(
        client,
        PROMPT,
        tensor("width", 64, "INT64"),
        tensor("height", 72, "INT32"),
        id="mine",
        parameters={"seed": 7, "num_images": 2},
    )

    data = outputs(response)
    assert list(data) == ["images", "seeds", "prompts", "warnings", "screening"]
    for image in data["images"]:
        picture = PIL.Image.open(BytesIO(base64.b64decode(image)))
        assert (picture.format, picture.size) == ("PNG", (64, 72))
    assert (data["seeds"], data["prompts"]) == ([7, 8], ["a pear", "a pear"])
    assert data["warnings"] == data["screening"] == ["[]", "[]"]
    body = response.json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("tiny", "1", "mine")
    assert response.headers["x-seed"] == "7"
    assert backend.requests[0].request_id == response.headers["x-request-id"]


def test_binary_in_binary_out(client: TestClient, backend: ColourBackend) -> None:
    tensors = [
        bytes_tensor("prompt", "a pear é".encode()),
        bytes_tensor("init_image", PICTURE),
        bytes_tensor("mask", PICTURE),
    ]
    strength = struct.pack("<f", 0.7)
    described = [
        *(each for each, _ in tensors),
        {
            "name": "strength",
            "shape": [1],
            "datatype": "FP32",
            "parameters": {"binary_data_size": 4},
        },
    ]
    data = b"".join(packed for _, packed in tensors) + strength
    response = binary(client, described, data, parameters={"binary_data_output": True, "seed": 7})

    result = unpacked(response)
    (length,) = struct.unpack_from("<I", result["images"])
    assert result["images"][4 : 4 + length].startswith(b"\x89PNG")
    assert struct.unpack("<q", result["seeds"]) == (7,)
    (request,) = backend.requests
    assert request.prompt == "a pear é"
    assert request.strength == 0.7
    assert request.init_image is not None
    assert request.mask is not None


def test_pictures_in_base64(client: TestClient, backend: ColourBackend) -> None:
    image = base64.b64encode(PICTURE).decode()
    assert infer(client, PROMPT, tensor("init_image", image)).status_code == 200
    assert backend.requests[0].init_image is not None
    assert backend.requests[0].mask is None

    response = infer(client, PROMPT, tensor("init_image", image[:-1]))
    assert error_of(response)["error"] == "init_image must be valid base64"


@pytest.mark.parametrize("as_binary", [False, True])
def test_pixels_on_request(client: TestClient, as_binary: bool) -> None:
    wanted = [
        {"name": "seeds"},
        {"name": "pixels", "parameters": {"binary_data": as_binary}},
    ]
    sides = {"width": 64, "height": 72, "num_images": 2}
    response = infer(client, PROMPT, outputs=wanted, parameters=sides)

    length = int(response.headers.get(LENGTH, len(response.content)))
    seeds, pixels = json.loads(response.content[:length])["outputs"]
    assert (seeds["name"], len(seeds["data"])) == ("seeds", 2)
    assert (pixels["datatype"], pixels["shape"]) == ("UINT8", [2, 72, 64, 3])
    data = response.content[length:] if as_binary else bytes(pixels["data"])
    assert data == bytes((0, 128, 128)) * (2 * 72 * 64)


def test_many_pixels_come_as_binary_data_only(client: TestClient, backend: ColourBackend) -> None:
    response = infer(
        client, PROMPT, outputs=[{"name": "pixels"}], parameters={"width": 512, "height": 512}
    )

    assert response.status_code == 422
    assert "262144 elements, got 786432" in error_of(response)["error"]
    assert not backend.requests


def test_the_classifier_is_a_model(client: TestClient) -> None:
    image = tensor("image", base64.b64encode(PICTURE).decode())
    data = outputs(infer(client, image, tensor("top_k", 2, "INT64"), model="classifier"))
    assert [len(data["labels"]), len(data["scores"])] == [2, 2]
    assert data["scores"][0] >= data["scores"][1]

    response = infer(client, model="classifier")
    assert error_of(response)["error"] == "image is required"
    response = infer(client, image, parameters={"top_k": 9}, model="classifier")
    assert (response.status_code, error_of(response)["field"]) == (422, "top_k")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_requests(client: TestClient, backend: ColourBackend, encoding: str) -> None:
    body = json.dumps({"inputs": [PROMPT]}).encode()
    compress = gzip.compress if encoding == "gzip" else zlib.compress
    headers = {"Content-Encoding": encoding}

    assert client.post(URL, content=compress(body), headers=headers).status_code == 200
    assert backend.requests[0].prompt == "a pear"


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(bytes(50 * 1024 * 1024), mtime=0), 413),
        ("deflate", zlib.compress(bytes(50 * 1024 * 1024)), 413),
        ("gzip", _GZIP[:-1], 400),
        ("gzip", _GZIP + b"{}", 400),
        ("gzip", _GZIP * 2, 400),
        ("gzip", b"", 400),
        ("deflate", b"{}", 400),
        ("gzip", b"{}", 400),
        ("br", b"{}", 415),
        ("gzip, gzip", gzip.compress(_GZIP, mtime=0), 415),
    ],
)
def test_what_must_not_be_inflated(
    client: TestClient, encoding: str, body: bytes, status: int
) -> None:
    response = client.post(URL, content=body, headers={"Content-Encoding": encoding})

    assert response.status_code == status
    error_of(response)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("application/octet-stream", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
    ],
)
def test_content_types(client: TestClient, content_type: str, status: int) -> None:
    body = json.dumps({"inputs": [PROMPT]})
    response = client.post(URL, content=body, headers={"Content-Type": content_type})

    assert response.status_code == status


def test_what_the_service_says_of_a_model(client: TestClient, backend: ColourBackend) -> None:
    backend.loras = [make_lora("clay")]
    metadata = client.get("/v2/models/clay").json()

    assert metadata["versions"] == ["v1"]
    inputs = {one["name"]: one for one in metadata["inputs"]}
    assert inputs["prompt"] == {"name": "prompt", "datatype": "BYTES", "shape": [1]}
    assert {"init_image", "mask", "strength"} <= set(inputs)
    # Which this model does not take.
    assert "skip_layers" not in inputs
    assert [one["name"] for one in metadata["outputs"]][-1] == "pixels"
    config = client.get("/v2/models/clay/versions/v1/config").json()
    assert config["input"][0] == {
        "name": "prompt",
        "data_type": "TYPE_STRING",
        "dims": [1],
        "optional": False,
    }
    assert infer(client, PROMPT, model="clay").json()["model_version"] == "v1"
    assert backend.requests[0].alias == "clay"
    index = client.post("/v2/repository/index").json()
    assert index[1] == {"name": "clay", "version": "v1", "state": "READY", "reason": ""}


def test_an_input_that_the_model_does_not_take(client: TestClient) -> None:
    response = infer(client, PROMPT, tensor("skip_layers", [7], "INT64"))

    assert (response.status_code, error_of(response)["field"]) == (422, "skip_layers")
    assert "must be absent for tiny" in error_of(response)["error"]


@pytest.mark.parametrize(
    "path", ["/v2/models/x", "/v2/models/x/ready", "/v2/models/tiny/versions/9"]
)
def test_unknown_models(client: TestClient, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 404
    assert error_of(response)["code"] == "not_found"


def test_a_model_of_this_moment_is_found(client: TestClient, backend: ColourBackend) -> None:
    backend.arriving = [make_lora("clay")]

    assert infer(client, PROMPT, model="clay").status_code == 200


def test_probes(
    client: TestClient, backend: ColourBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ("/v2/health/ready", "/v2/models/tiny/ready", "/v1/models/tiny")
    assert [client.get(path).status_code for path in paths] == [200] * 3
    monkeypatch.setattr(backend, "loaded", False)

    for path in paths:
        response = client.get(path)
        assert response.status_code == 503
        assert "retry-after" in response.headers
        error_of(response)
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v1/models").json()["data"][0]["ready"] is False
    assert client.post("/v2/repository/index").json()[0]["state"] == "UNAVAILABLE"
    (ready,) = client.post("/v2/repository/index", json={"ready": True}).json()
    assert ready["name"] == "classifier", "it has a worker of its own"


def test_failures(client: TestClient, backend: ColourBackend) -> None:
    backend.failure = Failed(ErrorCode.BUSY, "the queue is full", retry_after=7)
    busy = infer(client, PROMPT)
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "7")
    assert error_of(busy)["error"] == "the queue is full"

    backend.failure = ValueError("a secret")
    broken = infer(client, PROMPT)
    assert broken.status_code == 500
    assert error_of(broken)["error"] == "internal error"


def test_a_long_body_is_refused(client: TestClient, settings: Settings) -> None:
    response = client.post(URL, content=bytes(settings.max_body_bytes + 1))

    assert response.status_code == 413
    assert str(settings.max_body_bytes) in error_of(response)["error"]
