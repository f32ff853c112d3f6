"""Version 2: mistakes in tensors, in binary data and in the request around them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests import uploads
from tests.unit.api.protocols.kserve.conftest import (
    LENGTH,
    PROMPT,
    URL,
    binary,
    error_of,
    infer,
    tensor,
)

PICTURE = uploads.encode(uploads.red_and_blue())


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
