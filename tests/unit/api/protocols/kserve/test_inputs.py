"""Every field of the native bodies is an input, as a tensor and as a parameter."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import Any

import pytest

from api.protocols.kserve.inputs import GENERATION, Inputs
from api.protocols.kserve.requests import InferenceRequest
from api.protocols.kserve.tensors import DATATYPES, read_inputs
from api.protocols.native.kinds import Kind
from api.protocols.native.schemas import Img2ImgBody, InpaintBody, Txt2ImgBody
from contract.errors import ErrorCode, RequestError

BODIES = {"txt2img": Txt2ImgBody, "img2img": Img2ImgBody, "inpaint": InpaintBody}
PICTURE, MASK = b"\x89PNG picture", b"\xff\xd8\xff mask"
CODES = {"INT64": "q", "FP32": "f", "BOOL": "?"}
# Fields without an example of their own.
SIDES = {"width": 64, "height": 72}


def examples(body: type[Txt2ImgBody]) -> dict[str, Any]:
    """A value for each field."""
    fields = {
        name: (field.examples or [SIDES.get(name)])[0] for name, field in body.model_fields.items()
    }
    del fields["model"], fields["previews"]
    fields["loras"] = [{"name": "clay", "scale": 0.8}]
    return fields


def expected(body: type[Txt2ImgBody], **others: Any) -> Any:
    native = body.parse(json.dumps(examples(body)).encode()).parameters()
    return replace(native, model="tiny", **others)


def elements(kind: Kind, value: Any) -> list[Any]:
    if kind == "json":
        return [json.dumps(value)]
    return value if kind == "integers" else [value]


def strings(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


@pytest.mark.parametrize("task", ["txt2img", "img2img", "inpaint"])
@pytest.mark.parametrize("binary", [False, True])
def test_every_field_as_a_tensor(task: Any, binary: bool) -> None:
    body, kinds = BODIES[task], GENERATION[task]
    pictures = {"init_image": PICTURE, "mask": MASK}
    tensors, data = [], b""
    for name, kind in kinds.items():
        datatype = DATATYPES[kind][0]
        value: Any = [] if kind == "picture" else elements(kind, examples(body).get(name))
        entry: dict[str, Any] = {"name": name, "datatype": datatype}
        if kind == "picture":
            entry["shape"], piece = [1], strings(pictures[name])
        elif datatype == "BYTES":
            entry["shape"], piece = [1], strings(*(each.encode() for each in value))
        else:
            entry["shape"] = [len(value)]
            piece = struct.pack(f"<{len(value)}{CODES[datatype]}", *value)
        if binary or kind == "picture":
            entry["parameters"] = {"binary_data_size": len(piece)}
            data += piece
        else:
            entry["data"] = value
        tensors.append(entry)
    request = InferenceRequest.parse(json.dumps({"inputs": tensors}).encode())

    inputs = read_inputs(request, memoryview(data), kinds)

    given = {name: pictures[name] for name in pictures if name in kinds}
    assert inputs.generation("tiny") == expected(body, **given)


def test_every_field_as_a_parameter() -> None:
    for loras in (examples(Txt2ImgBody)["loras"], '[{"name": "clay", "scale": 0.8}]'):
        parameters = examples(Txt2ImgBody) | {"loras": loras}
        body = {"inputs": [], "parameters": parameters}
        request = InferenceRequest.parse(json.dumps(body).encode())

        inputs = read_inputs(request, memoryview(b""), GENERATION["txt2img"])

        assert inputs.generation("tiny") == expected(Txt2ImgBody)


@pytest.mark.parametrize("datatype", ["INT8", "UINT8", "INT32", "UINT64", "INT64"])
def test_integers_of_any_width(datatype: str) -> None:
    assert read("seed", datatype, [7]) == 7


@pytest.mark.parametrize(
    ("datatype", "data", "value"),
    [
        ("FP32", [0.7], 0.7),
        # What numpy makes a list of.
        ("FP32", [0.699999988079071], 0.7),
        ("FP32", [1 / 3], 0.33333333),
        ("FP16", [0.7001953125], 0.7),
        ("FP64", [0.699999988079071], 0.699999988079071),
        ("INT64", [7], 7),
        ("FP32", [1e39], 1e39),
    ],
)
def test_numbers_are_the_decimal_ones_that_were_meant(
    datatype: str, data: list[Any], value: float
) -> None:
    assert read("guidance_scale", datatype, data) == value


@pytest.mark.parametrize(("shape", "data"), [([], [7]), ([1, 1], [[7]]), ([1, 1], [7])])
def test_scalars_of_any_shape(shape: list[int], data: list[Any]) -> None:
    assert read("seed", "INT64", data, shape) == 7


def read(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> Any:
    entry = {"name": name, "shape": [1] if shape is None else shape, "datatype": datatype}
    body = {"inputs": [{**entry, "data": data}]}
    request = InferenceRequest.parse(json.dumps(body).encode())
    return read_inputs(request, memoryview(b""), GENERATION["txt2img"]).values[name]


@pytest.mark.parametrize(
    ("inputs", "field", "message"),
    [
        (Inputs(), "prompt", "prompt is required"),
        (Inputs({"prompt": "x"}, {"mask": MASK}), "init_image", "init_image is required where"),
        (Inputs({"prompt": "x", "strength": 0.5}), "strength", '"strength" is not one of'),
        (Inputs({"prompt": "x", "model": "y"}), "model", '"model" is not one of the inputs'),
        (Inputs({"prompt": 5}), "prompt", "prompt must be a string, not 5"),
        (Inputs({"prompt": "x", "seed": 1.5}), "seed", "seed must be an integer, not 1.5"),
        (Inputs({"prompt": "x", "seed": True}), "seed", "seed must be an integer, not true"),
        (
            Inputs({"prompt": "x", "loras": [{"name": "a", "weight": 1}]}),
            "loras.0.weight",
            '"loras.0.weight" is not a field; the fields are name, scale',
        ),
    ],
)
def test_mistakes(inputs: Inputs, field: str, message: str) -> None:
    with pytest.raises(RequestError) as refused:
        inputs.generation("tiny")

    assert (refused.value.code, refused.value.field) == (ErrorCode.INVALID_REQUEST, field)
    assert refused.value.message.startswith(message)
