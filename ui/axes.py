"""The axes of a grid: a parameter, and the values that it is to have, out of what was typed."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from ui.served import Served

MAX_VALUES: Final = 12
MAX_CELLS: Final = 64
WORDS: Final = "Words of the prompt"

Kind = Literal["whole", "number", "choice", "words"]

_NUMBER = r"[+-]?[0-9]{1,16}(?:\.[0-9]{1,9})?"
# 4-12, 4-12 (+2) and 4-12 [5]: each whole number, every second one, and five that divide it.
_RANGE = re.compile(
    rf"({_NUMBER})\s*-\s*({_NUMBER})\s*(?:\(\s*([+-]?{_NUMBER.removeprefix('[+-]?')})\s*\)|"
    r"\[\s*([0-9]{1,3})\s*\])?"
)


class AxisError(ValueError):
    """What is wrong with an axis, as a sentence for who typed it."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something that differs from column to column, or from row to row.

    Attributes:
        field: of the API: ``scheduler``; ``loras.0.scale`` and ``refiner.switch_at`` are within
            others, and ``words`` is a part of the prompt.
        title: what a visitor knows it by.
        kind: of its values.
        hint: what may be typed.
    """

    field: str
    title: str
    kind: Kind
    hint: str = ""


PARAMETERS: Final = (
    Parameter("num_inference_steps", "Steps", "whole", "8, 16, 32 or 4-20 (+4)"),
    Parameter("guidance_scale", "Guidance", "number", "1, 3, 7.5 or 1-9 [5]"),
    Parameter("seed", "Seed", "whole", "1, 2, 3 or 100-103"),
    Parameter("scheduler", "Scheduler", "choice"),
    Parameter("model", "Model", "choice"),
    Parameter(
        "words",
        WORDS,
        "words",
        "red, green, blue: the first stands in the prompt, and the others take its place. "
        'Words with commas go into quotes: "red, shiny"',
    ),
    Parameter("loras.0.scale", "Scale of the first LoRA", "number", "0, 0.5, 1 or -1-1 (+0.5)"),
    Parameter("refiner.switch_at", "Switch to the refiner", "number", "0.6, 0.8 or 0.5-0.9 (+0.1)"),
)


def parameter(title: str) -> Parameter | None:
    """The parameter with a title; None for any other text."""
    return next((one for one in PARAMETERS if one.title == title), None)


def choices(one: Parameter, served: Served) -> Sequence[str]:
    """The values that a parameter of the kind ``choice`` may have."""
    if one.field == "scheduler":
        return served.schedulers
    return [model.name for model in served.able("txt2img")] if one.field == "model" else []


def values(one: Parameter, typed: str, chosen: Sequence[str]) -> list[Any]:
    """The values of an axis, each once and in the order in which they stand.

    Args:
        one: the parameter.
        typed: values with commas between them; numbers may be ranges.
        chosen: those of the kind ``choice``.

    Raises:
        AxisError: there are none or too many, or one is of another kind.
    """
    if one.kind == "choice":
        found: list[Any] = list(chosen)
    elif one.kind == "words":
        found = _words(typed)
    else:
        found = [number for part in typed.split(",") for number in _numbers(one, part.strip())]
    found = list(dict.fromkeys(found))
    if not found:
        raise AxisError(f"{one.title} has no values.")
    if one.kind == "words" and len(found) < 2:
        raise AxisError(f"{one.title} needs two texts or more: what is replaced, and by what.")
    if len(found) > MAX_VALUES:
        raise AxisError(f"{one.title} has {len(found)} values; {MAX_VALUES} is the most.")
    return found


def with_value(fields: Mapping[str, Any], one: Parameter, value: Any, first: Any) -> dict[str, Any]:
    """A request with a value of an axis.

    Args:
        fields: of the API.
        one: the parameter.
        value: what it is to be.
        first: the first value of the axis, which is what ``words`` replaces.

    Raises:
        AxisError: the request has nothing that the parameter is a part of.
    """
    changed = dict(fields)
    if one.field == "words":
        prompt = str(fields.get("prompt", ""))
        if first not in prompt:
            raise AxisError(f"“{first}” is not in the prompt, so nothing can take its place.")
        changed["prompt"] = prompt.replace(first, value)
    elif one.field == "loras.0.scale":
        if not (loras := fields.get("loras")):
            raise AxisError("There is no LoRA whose scale could differ: choose one first.")
        changed["loras"] = [{**loras[0], "scale": value}, *loras[1:]]
    elif one.field == "refiner.switch_at":
        if not (refiner := fields.get("refiner")):
            raise AxisError("There is no refiner to switch to: choose one first.")
        changed["refiner"] = {**refiner, "switch_at": value}
    else:
        changed[one.field] = value
    return changed


def label(value: Any) -> str:
    """A value as it stands beside its column or row."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _words(typed: str) -> list[str]:
    found = next(csv.reader([" ".join(typed.splitlines())], skipinitialspace=True), [])
    return [text for one in found if (text := one.strip())]


def _numbers(one: Parameter, part: str) -> list[int] | list[float]:
    if not part:
        return []
    if re.fullmatch(_NUMBER, part):
        return [_number(one, Decimal(part))]
    match = _RANGE.fullmatch(part)
    if match is None:
        raise AxisError(f"{one.title}: “{part[:40]}” is no number. Write {one.hint}.")
    start, end = Decimal(match[1]), Decimal(match[2])
    if match[4] is not None:
        return _divided(one, start, end, int(match[4]))
    step = Decimal(1) if match[3] is None else abs(Decimal(match[3]))
    if step == 0:
        raise AxisError(f"{one.title}: the step of “{part[:40]}” must not be 0.")
    count = int(abs(end - start) / step) + 1
    _check_count(one, count)
    direction = step if end >= start else -step
    return [_number(one, start + direction * index) for index in range(count)]


def _divided(one: Parameter, start: Decimal, end: Decimal, count: int) -> list[Any]:
    if count < 2:
        raise AxisError(f"{one.title}: a range is divided into 2 values or more, not {count}.")
    _check_count(one, count)
    points = [start + (end - start) * index / (count - 1) for index in range(count)]
    if one.kind == "whole":
        points = [point.to_integral_value() for point in points]
    return [_number(one, point) for point in points]


def _check_count(one: Parameter, count: int) -> None:
    if count > MAX_VALUES:
        raise AxisError(f"{one.title} has {count} values; {MAX_VALUES} is the most.")


def _number(one: Parameter, value: Decimal) -> Any:
    if one.kind != "whole":
        return round(float(value), 6)
    if value != value.to_integral_value():
        raise AxisError(f"{one.title}: {value} is no whole number.")
    return int(value)
