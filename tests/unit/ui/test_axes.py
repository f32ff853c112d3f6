"""The axes of a grid, as they are typed, and the requests of its cells."""

from __future__ import annotations

from typing import Any

import pytest

from ui.axes import MAX_VALUES, PARAMETERS, AxisError, label, parameter, values, with_value

BY_FIELD = {one.field: one for one in PARAMETERS}
FIELDS: dict[str, Any] = {
    "prompt": "a red apple, red",
    "loras": [{"name": "clay", "scale": 1.0}, {"name": "ink"}],
    "refiner": {"model": "finisher"},
}


def test_values_are_read_as_they_are_typed() -> None:
    for field, typed, expected in (
        ("num_inference_steps", "8, 16,8", [8, 16]),
        ("num_inference_steps", " 4-12 (+4), 20", [4, 8, 12, 20]),
        ("num_inference_steps", "1-10[4]", [1, 4, 7, 10]),
        ("seed", "5-3", [5, 4, 3]),
        ("seed", "9007199254740991", [9007199254740991]),
        ("guidance_scale", "7.5, 1 - 3", [7.5, 1, 2, 3]),
        ("guidance_scale", "1-9 [5]", [1, 3, 5, 7, 9]),
        ("guidance_scale", "0-0.3 (+0.1)", [0, 0.1, 0.2, 0.3]),
        ("loras.0.scale", "-1-1 (+0.5)", [-1, -0.5, 0, 0.5, 1]),
        ("words", 'red, "dark, blue", green ', ["red", "dark, blue", "green"]),
    ):
        assert values(BY_FIELD[field], typed, []) == expected, typed
    assert values(BY_FIELD["scheduler"], "", ["ddim", "euler"]) == ["ddim", "euler"]
    assert parameter("Steps") is BY_FIELD["num_inference_steps"]
    assert parameter("Nothing") is None
    assert [label(value) for value in (7.0, 0.25, 8, "ddim")] == ["7", "0.25", "8", "ddim"]


def test_what_is_no_axis_is_a_sentence() -> None:
    for field, typed, sentence in (
        ("num_inference_steps", "", "has no values"),
        ("num_inference_steps", "many", "“many” is no number"),
        ("num_inference_steps", "1.5", "no whole number"),
        ("num_inference_steps", "1-3 (+0.5)", "no whole number"),
        ("num_inference_steps", "1-1000000000", f"{MAX_VALUES} is the most"),
        ("num_inference_steps", "1-9 [999]", f"{MAX_VALUES} is the most"),
        ("num_inference_steps", ",".join(map(str, range(40))), f"{MAX_VALUES} is the most"),
        ("guidance_scale", "1-2 (+0)", "must not be 0"),
        ("guidance_scale", "1-2 [1]", "2 values or more"),
        ("guidance_scale", "1e9", "is no number"),
        ("words", "red", "two texts or more"),
        ("scheduler", "ddim", "has no values"),
    ):
        with pytest.raises(AxisError, match=sentence.replace("(", r"\(")):
            values(BY_FIELD[field], typed, [])


def test_a_cell_has_its_value_and_all_else_is_the_same() -> None:
    for field, value, expected in (
        ("seed", 3, {"seed": 3}),
        ("words", "blue", {"prompt": "a blue apple, blue"}),
        ("loras.0.scale", 0.5, {"loras": [{"name": "clay", "scale": 0.5}, {"name": "ink"}]}),
        ("refiner.switch_at", 0.7, {"refiner": {"model": "finisher", "switch_at": 0.7}}),
    ):
        assert with_value(FIELDS, BY_FIELD[field], value, "red") == {**FIELDS, **expected}
    assert FIELDS["loras"][0]["scale"] == 1.0
    with pytest.raises(AxisError, match="“pear” is not in the prompt"):
        with_value(FIELDS, BY_FIELD["words"], "blue", "pear")
    for field in ("loras.0.scale", "refiner.switch_at"):
        with pytest.raises(AxisError, match="choose one first"):
            with_value({"prompt": "x"}, BY_FIELD[field], 0.5, 0.5)
