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
from tests.unit.api.protocols.kserve.conftest import error_of, infer, outputs, tensor

PICTURE = uploads.encode(uploads.red_and_blue())
LENGTH = "Inference-Header-Content-Length"
URL = "/v2/models/tiny/infer"
PROMPT = tensor("prompt", "a pear")
# Without a time: tests are told apart by their parameters.
_GZIP = gzip.compress(b"{}", mtime=0)


def binary(client: TestClient, inputs: list[dict[str, Any]], data: bytes, **fields: Any) -> Any:
    """The response to a request with binary data, sent as tritonclient does: without a type."""
    head = json.dumps({"inputs": inputs, **fields}).encode()
    return client.post(URL, content=head + data, headers={LENGTH: str(len(head))})


def bytes_tensor(name: str, data: bytes) -> tuple[dict[str, Any], bytes]:
    packed = struct.pack("<I", len(data)) + data
    size = {"binary_data_size": len(packed)}
    return {"name": name, "shape": [1], "datatype": "BYTES", "parameters": size}, packed


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


def changed(**fields: Any) -> list[dict[str, Any]]:
    return [{**PROMPT, **fields}]


@pytest.mark.parametrize(
    ("inputs", "field", "message"),
    [
        (changed(name="text"), "text", '"text" is not one of the inputs, which are prompt'),
        ([PROMPT, PROMPT], "prompt", "prompt may be given once only"),
        (changed(datatype="INT64"), "prompt", "prompt must have the datatype BYTES"),
        (changed(data=["x", "y"]), "prompt", "prompt has the shape [1], and 2 elements"),
        (changed(data=["x", "y"], shape=[2]), "prompt", "prompt must have one element, got 2"),
        (changed(shape=[-1]), "prompt", "prompt has the shape [-1], and 1 elements"),
        (changed(shape=[-1, -1]), "prompt", "prompt has the shape [-1, -1], and 1 elements"),
        (changed(data=None), "prompt", "prompt has neither data nor a binary_data_size"),
        (changed(data=[5]), "prompt", "prompt must be a string, not 5"),
        (changed(parameters={"shared_memory_region": "x"}), "prompt", "inputs of prompt: the"),
        (changed(parameters={"binary_data_size": -1}), "prompt", "binary_data_size of prompt"),
        (changed(parameters={"binary_data_size": True}), "prompt", "binary_data_size of prompt"),
        (changed(parameters={"binary_data_size": 4}), "prompt", "prompt has both data and"),
        (
            changed(parameters={"binary_data_size": 4}, data=None),
            "prompt",
            "prompt has 4 bytes of binary data, of which 0 came",
        ),
        ([PROMPT, tensor("loras", "[")], "loras", "loras must be JSON"),
        ([PROMPT, tensor("loras", "[" * 5000)], "loras", "loras must be JSON"),
        ([PROMPT, tensor("crop", [1] * 1025, "INT64")], "crop", "crop must have at most 1024"),
        ([], "prompt", "prompt is required"),
    ],
)
def test_mistakes_in_tensors(
    client: TestClient, inputs: list[dict[str, Any]], field: str, message: str
) -> None:
    response = infer(client, *inputs)

    assert response.status_code == 400
    assert error_of(response)["field"] == field
    assert error_of(response)["error"].startswith(message)


@pytest.mark.parametrize(
    ("datatype", "data", "shape", "message"),
    [
        ("BYTES", b"\x05\0\0\0abc", [1], "prompt: the binary data ends within an element"),
        ("BYTES", b"\x05\0", [1], "prompt: the binary data ends within an element"),
        ("BYTES", bytes(4) * 1025, [1025], "prompt must have at most 1024 elements"),
        ("BYTES", bytes(8), [1], "prompt has the shape [1], and 2 elements"),
        ("BYTES", b"\x01\0\0\0\xff", [1], "prompt must be UTF-8"),
        ("FP32", b"\0\0\0", [1], "prompt must have 4 bytes for each element, got 3 bytes"),
        ("FP32", bytes(4), [1], "prompt must have the datatype BYTES"),
        ("BF16", bytes(2), [1], "prompt must have one of the datatypes BYTES"),
    ],
)
def test_mistakes_in_binary_data(
    client: TestClient, datatype: str, data: bytes, shape: list[int], message: str
) -> None:
    size = {"binary_data_size": len(data)}
    entry = {"name": "prompt", "shape": shape, "datatype": datatype, "parameters": size}
    response = binary(client, [entry], data)

    assert response.status_code == 400
    assert error_of(response)["error"].startswith(message)


@pytest.mark.parametrize("bits", [b"\0\0\xc0\x7f", b"\0\0\x80\x7f"])
def test_numbers_are_finite(client: TestClient, bits: bytes) -> None:
    size = {"binary_data_size": 4}
    entry = {"name": "guidance_scale", "shape": [1], "datatype": "FP32", "parameters": size}
    response = binary(client, [entry], bits, parameters={"prompt": "x"})

    assert response.status_code == 422
    assert error_of(response)["error"] == "guidance_scale must be a finite number"


def test_what_is_left_of_the_binary_data(client: TestClient) -> None:
    response = binary(client, [PROMPT], b"more")

    assert response.status_code == 400
    assert "add up to, 0 bytes, got 4" in error_of(response)["error"]


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "99999", "9" * 5000, ""])
def test_the_length_of_the_json_is_within_the_body(client: TestClient, length: str) -> None:
    response = client.post(URL, content=b'{"inputs": []}', headers={LENGTH: length})

    assert response.status_code == 400
    assert error_of(response)["field"] == LENGTH


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"parameters": {"sequence_id": 5}}, '"sequence_id" is not a parameter; the'),
        ({"parameters": {"init_image": "x"}}, '"init_image" is not a parameter; the'),
        ({"parameters": {"prompt": "x"}}, "prompt may be given once only"),
        ({"parameters": {"binary_data_output": 1}}, "binary_data_output of the request must be"),
        ({"parameters": {"seed": "x"}}, 'seed must be an integer, not "x"'),
        ({"outputs": [{"name": "tensors"}]}, '"tensors" is not one of the outputs, which are'),
        (
            {"outputs": [{"name": "images", "parameters": {"classification": 3}}]},
            "output images: the only parameter is binary_data",
        ),
        ({"model_name": "other"}, 'model_name must be that of the path, tiny, got "other"'),
        ({"extra": 1}, '"extra" is not a field; the fields are id'),
    ],
)
def test_mistakes_in_the_request(client: TestClient, fields: dict[str, Any], message: str) -> None:
    response = infer(client, PROMPT, **fields)

    assert response.status_code == 400
    assert error_of(response)["error"].startswith(message)


@pytest.mark.parametrize("number", [10**400, 10**4299, -(10**4299)])
def test_huge_integers(client: TestClient, number: int) -> None:
    for fields in (
        {"inputs": changed(shape=[number])},
        {"inputs": [PROMPT, tensor("seed", number, "INT64")]},
        {"inputs": [PROMPT], "parameters": {"seed": number}},
        {"inputs": [PROMPT, tensor("guidance_scale", number, "FP32")]},
        {"inputs": changed(parameters={"binary_data_size": abs(number)}, data=None)},
    ):
        response = client.post(URL, content=json.dumps(fields))
        assert response.status_code in {400, 422}


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
    "path", ["/v2/models/x", "/v2/models/x/ready", "/v2/models/tiny/versions/9", "/v1/models/x"]
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
    assert client.post("/v2/repository/index", json={"ready": True}).json() == []


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
