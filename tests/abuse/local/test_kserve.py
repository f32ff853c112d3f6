"""Hostile requests of KServe's protocols: tensors, binary data, compressed bodies, long JSON."""

from __future__ import annotations

import base64
import gzip
import json
import random
import struct
import time
import zlib
from itertools import product
from typing import Any

import httpx
import pytest

from tests.abuse.hostile_json import BODIES, FIELDS, VALUES, body
from tests.abuse.pictures import HOSTILE
from tests.abuse.raw_http import post
from tests.abuse.target import PICTURE, SHORT, Target, attack_meanwhile
from tests.effort import effort

V1, V2 = "/v1/models/embedded:predict", "/v2/models/embedded/infer"
STATUSES = {200, 400, 404, 413, 415, 422}
# What any of them may take; all but a few take milliseconds.
SECONDS = 20.0
LENGTH = "Inference-Header-Content-Length"
MIB = 1024 * 1024
DATATYPES = ("BYTES", "BOOL", "INT64", "UINT8", "FP16", "FP32", "FP64", "BF16", "", "bytes")
INFLATED = {
    "gzip": gzip.compress(bytes(64 * MIB)),
    "deflate": zlib.compress(bytes(64 * MIB)),
    "gzip-of-gzip": gzip.compress(gzip.compress(bytes(64 * MIB))),
    "many-members": gzip.compress(b" ") * 10_000,
    "empty-blocks": b"\x78\x9c" + b"\x00\x00\x00\xff\xff" * 100_000,
    "cut": gzip.compress(bytes(MIB))[:-9],
}
BOMBS = {
    "instances": b'{"instances":[' + b",".join([b"{}"] * 1_000_000) + b"]}",
    "inputs": b'{"inputs":[' + b",".join([b"{}"] * 1_000_000) + b"]}",
    "data": b'{"inputs":[{"name":"prompt","shape":[1],"datatype":"BYTES","data":['
    + b",".join([b"1"] * 3_000_000)
    + b"]}]}",
    "parameters": b'{"inputs":[],"parameters":{'
    + b",".join(b'"f%d":1' % number for number in range(500_000))
    + b"}}",
}


def _post(victim: Target, path: str, content: bytes, **headers: str) -> httpx.Response:
    started = time.monotonic()
    response = victim.server.client.post(path, content=content, headers=headers)
    assert time.monotonic() - started < SECONDS
    assert response.status_code in STATUSES, response.text[:500]
    if response.status_code != 200:
        error = response.json()["error"]
        assert isinstance(error, str)
        assert len(error) < 2000
        assert "Traceback" not in error
    return response


# Their schema is that of the native bodies. Usually every fourth of them, and for each protocol
# others than for the native one, which begins with the first.
@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        (path, *each)
        for start, path in enumerate((V1, V2), 1)
        for each in list(product(FIELDS, VALUES))[effort(start, 0) :: effort(4, 1)]
    ],
)
def test_a_value_of_any_kind_in_any_field(
    victim: Target, path: str, field: str, value: str
) -> None:
    fields = body(field, VALUES[value])
    around = {V1: b'{"instances": [%s]}', V2: b'{"inputs": [], "parameters": %s}'}
    _post(victim, path, around[path] % fields)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_of_any_kind(victim: Target, name: str) -> None:
    for path in (V1, V2, "/v2/repository/index"):
        assert _post(victim, path, BODIES[name]).status_code in {200, 400, 413, 422}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("part", ["name", "shape", "datatype", "data", "parameters"])
def test_a_part_of_a_tensor_of_any_kind(victim: Target, part: str, value: str) -> None:
    tensor = {"name": b'"seed"', "shape": b"[1]", "datatype": b'"INT64"', "data": b"[1]"}
    for given in (VALUES[value], b"[" + VALUES[value] + b"]", b'{"a":' + VALUES[value] + b"}"):
        fields = tensor | {part: given}
        text = b",".join(b'"%s":%s' % (key.encode(), each) for key, each in fields.items())
        request = (
            b'{"inputs":[{' + text + b'}],"parameters":{"prompt":"x","num_inference_steps":1}}'
        )
        _post(victim, V2, request)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_random_binary_data(victim: Target, datatype: str) -> None:
    source = random.Random(datatype)
    for _ in range(effort(20, 500)):
        size = source.choice([0, 1, 3, 4, 8, 64, 4096])
        data = source.randbytes(size) if source.random() < 0.5 else struct.pack("<I", size) * 3
        claimed = max(0, len(data) + source.choice([0, 0, 0, -1, 1, 2**40]))
        tensor: dict[str, Any] = {
            "name": source.choice(["prompt", "seed", "strength", "crop", "init_image", "loras"]),
            "shape": source.choice([[1], [], [size], [0], [-1], [2**62, 2**62], [1] * 8]),
            "datatype": datatype,
            "parameters": {"binary_data_size": claimed},
        }
        fields: dict[str, Any] = {"num_inference_steps": 1, "binary_data_output": True}
        if tensor["name"] != "prompt":
            fields["prompt"] = "x"
        head = json.dumps({"inputs": [tensor], "parameters": fields}).encode()
        length = len(head) + source.choice([0, 0, 0, -1, 1, 9999])
        _post(victim, V2, head + data, **{LENGTH: str(length)})


@pytest.mark.parametrize("name", HOSTILE)
def test_a_picture_of_any_kind(victim: Target, name: str) -> None:
    data = HOSTILE[name]()
    packed = struct.pack("<I", len(data)) + data
    size = {"binary_data_size": len(packed)}
    tensor = {"name": "init_image", "shape": [1], "datatype": "BYTES", "parameters": size}
    head = json.dumps({"inputs": [tensor], "parameters": SHORT}).encode()
    binary = _post(victim, V2, head + packed, **{LENGTH: str(len(head))})
    if len(data) < 100_000:
        image = base64.b64encode(data).decode()
        instance = json.dumps({"instances": [SHORT | {"init_image": image}]}).encode()
        assert _post(victim, V1, instance).status_code == binary.status_code


@pytest.mark.parametrize("name", INFLATED)
def test_bodies_that_grow(victim: Target, name: str) -> None:
    encoding = "deflate" if name in {"deflate", "empty-blocks"} else "gzip"
    for path in (V1, V2):
        response = _post(victim, path, INFLATED[name], **{"Content-Encoding": encoding})
        assert response.status_code in {400, 413}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_large_bodies_do_not_stop_the_others(victim: Target, name: str) -> None:
    path = V1 if name == "instances" else V2

    statuses, longest = attack_meanwhile(victim, [post(BOMBS[name], path)] * effort(2, 8))

    assert longest < 2
    # A server that refuses a body before reading it may close while it is being sent.
    assert set(statuses) <= {400, 413, 422}


def test_many_instances_are_bounded_together(victim: Target) -> None:
    image = base64.b64encode(PICTURE).decode()
    instances: list[dict[str, Any]] = [SHORT | {"init_image": image}] * 64
    response = _post(victim, V1, json.dumps({"instances": instances}).encode())

    assert response.status_code == 422
    assert "at most 2 pictures together, got 64" in response.json()["error"]
