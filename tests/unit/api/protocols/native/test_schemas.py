from __future__ import annotations

import json
from typing import Any

import pytest
from annotated_types import Le
from pydantic import ValidationError

from api.protocols.native.schemas import MAX_LORAS, Img2ImgBody, Txt2ImgBody
from contract.errors import ErrorCode, RequestError
from settings import Settings


def refusal(data: bytes) -> RequestError:
    with pytest.raises(RequestError) as refused:
        Txt2ImgBody.parse(data)
    return refused.value


def test_absent_and_null_are_the_same() -> None:
    fields = {name: None for name in Txt2ImgBody.model_fields if name != "prompt"}
    with_nulls = json.dumps({"prompt": "x", **fields}).encode()

    assert Txt2ImgBody.parse(with_nulls) == Txt2ImgBody.parse(b'{"prompt": "x"}')


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"prompt": "x"} trailing',
        b"{'prompt': 'x'}",
        b'{"prompt": "\xff"}',  # not UTF-8
        b'{"prompt": "\\ud800"}',  # half a surrogate pair
        b"[" * 100_000,
        b'{"prompt": "x", "seed": ' + b"9" * 5_000 + b"}",
        '{"prompt": "x"}'.encode("utf-16"),
    ],
)
def test_malformed_json(data: bytes) -> None:
    error = refusal(data)

    assert error.code is ErrorCode.INVALID_REQUEST
    assert error.message.startswith("the body is not valid JSON")
    assert error.field is None


@pytest.mark.parametrize("data", [b"[]", b'"x"', b"7", b"null"])
def test_only_objects(data: bytes) -> None:
    assert refusal(data).message == "the body must be a JSON object"


def test_unknown_field_is_named_and_the_known_ones_listed() -> None:
    error = refusal(b'{"prompt": "x", "steps": 3}')

    assert error.code is ErrorCode.INVALID_REQUEST
    assert error.field == "steps"
    assert "num_inference_steps" in error.message


def test_strength_belongs_to_img2img() -> None:
    assert refusal(b'{"prompt": "x", "strength": 0.5}').field == "strength"
    assert Img2ImgBody.parse(b'{"prompt": "x", "strength": 0.5}').strength == 0.5


def test_missing_field() -> None:
    error = refusal(b"{}")

    assert (error.field, error.message) == ("prompt", "prompt is required")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("prompt", 1, "a string"),
        ("prompt", None, "a string"),
        ("negative_prompt", ["x"], "a string"),
        ("width", "512", "an integer"),
        ("width", True, "an integer"),
        ("height", 64.5, "an integer"),
        ("num_inference_steps", {}, "an integer"),
        ("seed", 1.5, "an integer"),
        ("guidance_scale", "7", "a number"),
        ("guidance_scale", False, "a number"),
        ("guidance_start", "0.1", "a number"),
        ("guidance_end", [], "a number"),
        ("scheduler", 1, "a string"),
        ("model", 1, "a string"),
        ("output_format", 1, "a string"),
        ("num_images", 2.0, "an integer"),
        ("previews", 1, "true or false"),
        ("previews", "true", "true or false"),
    ],
)
def test_wrong_type(field: str, value: Any, expected: str) -> None:
    error = refusal(json.dumps({"prompt": "x", field: value}).encode())

    assert error.code is ErrorCode.INVALID_REQUEST
    assert error.field == field
    assert error.message == f"{field} must be {expected}, not {json.dumps(value)}"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_are_finite(value: str) -> None:
    error = refusal(b'{"prompt": "x", "guidance_scale": %s}' % value.encode())

    assert error.code is ErrorCode.OUT_OF_RANGE
    assert error.field == "guidance_scale"


def test_a_long_value_is_shortened_in_the_message() -> None:
    error = refusal(json.dumps({"prompt": "x", "width": "9" * 10_000}).encode())

    assert len(error.message) < 200


def test_lists_are_as_long_as_any_setting_allows() -> None:
    (most,) = (one.le for one in Settings.model_fields["max_loras"].metadata if isinstance(one, Le))
    assert most == MAX_LORAS

    error = refusal(json.dumps({"prompt": "x", "loras": [{"name": "a"}] * 65}).encode())
    assert (error.code, error.field) == (ErrorCode.OUT_OF_RANGE, "loras")
    assert error.message == "loras must be at most 64 elements long, got more"


@pytest.mark.parametrize("element", ["{}", "1", '{"name": 1}'])
def test_a_list_is_looked_at_up_to_its_first_mistake(element: str) -> None:
    data = f'{{"prompt": "x", "loras": [{",".join([element] * 20_000)}]}}'.encode()

    with pytest.raises(ValidationError) as mistakes:
        Txt2ImgBody.model_validate_json(data)
    assert mistakes.value.error_count() == 1
    assert (refusal(data).field or "").startswith("loras.0")


def test_countless_mistakes_are_counted_only() -> None:
    fields = {f"f{index}": 1 for index in range(5000)}
    error = refusal(json.dumps({"prompt": "x", **fields}).encode())

    assert (error.code, error.message) == (
        ErrorCode.INVALID_REQUEST,
        "the body has 5000 mistakes",
    )
