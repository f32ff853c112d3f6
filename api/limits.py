"""The ranges of all parameters: one table for the checks and for the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Protocol

from api.errors import shown
from api.parameters import ParameterError
from contract.errors import ErrorCode
from contract.request import OutputFormat
from models.architectures import SCHEDULERS
from settings import Settings

MAX_SEED = 2**53 - 1
RANDOM_SEED = -1
BEST_QUALITY = 100  # of a JPEG or WebP file
# A model's default strength is for img2img; diffusers' inpainting pipelines all start from noise.
INPAINT_STRENGTH = 1.0
_MAX_GUIDANCE_SCALE = 30
_MAX_LORA_SCALE = 2
# How many a model has is its own matter; the largest has 38.
_MAX_LAYER = 127
# Of pictures that a model is told about, and never sees.
_MAX_ORIGINAL_SIDE = 8192


class Constraint(Protocol):
    """A condition on the values of one field."""

    def check(self, field: str, value: Any) -> None:
        """Raise ``ParameterError(OUT_OF_RANGE)``, naming field, limit and value."""
        ...

    @property
    def schema(self) -> dict[str, Any]:
        """The same as JSON Schema keywords."""
        ...


@dataclass(frozen=True, slots=True)
class Range:
    """A number from ``minimum`` (or above it, if ``exclusive``) to ``maximum`` (or below it, if
    ``below``)."""

    minimum: int
    maximum: int
    exclusive: bool = False
    below: bool = False

    def check(self, field: str, value: float) -> None:
        above = value > self.minimum if self.exclusive else value >= self.minimum
        below = value < self.maximum if self.below else value <= self.maximum
        if not (above and below):
            lower = f"above {self.minimum}" if self.exclusive else f"at least {self.minimum}"
            upper = f"below {self.maximum}" if self.below else f"at most {self.maximum}"
            raise _out_of_range(field, f"{lower} and {upper}", shown(value))

    @property
    def schema(self) -> dict[str, Any]:
        lower = "exclusiveMinimum" if self.exclusive else "minimum"
        upper = "exclusiveMaximum" if self.below else "maximum"
        return {lower: self.minimum, upper: self.maximum}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two integers, each from ``minimum`` to ``maximum``."""

    minimum: int
    maximum: int

    def check(self, field: str, value: Sequence[int]) -> None:
        if len(value) != 2:
            raise _out_of_range(field, "two integers", str(len(value)))
        if not all(self.minimum <= each <= self.maximum for each in value):
            limit = f"two integers, each at least {self.minimum} and at most {self.maximum}"
            raise _out_of_range(field, limit, " and ".join(map(shown, value)))

    @property
    def schema(self) -> dict[str, Any]:
        each = {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}
        return {"minItems": 2, "maxItems": 2, "items": each}


@dataclass(frozen=True, slots=True)
class Length:
    """A text of at most ``maximum`` characters (Unicode code points)."""

    maximum: int

    def check(self, field: str, value: str) -> None:
        if len(value) > self.maximum:
            raise _out_of_range(field, f"at most {self.maximum} characters long", str(len(value)))

    @property
    def schema(self) -> dict[str, Any]:
        return {"maxLength": self.maximum}


@dataclass(frozen=True, slots=True)
class Count:
    """A list of at most ``maximum`` elements."""

    maximum: int

    def check(self, field: str, value: Sized) -> None:
        if len(value) > self.maximum:
            raise _out_of_range(field, f"at most {self.maximum} elements long", str(len(value)))

    @property
    def schema(self) -> dict[str, Any]:
        return {"maxItems": self.maximum}


@dataclass(frozen=True, slots=True)
class Numbers:
    """Integers from 0 to ``maximum``, at most as many as there are."""

    maximum: int

    def check(self, field: str, value: Sequence[int]) -> None:
        Count(self.maximum + 1).check(field, value)
        for each in value:
            if not 0 <= each <= self.maximum:
                limit = f"integers, each at least 0 and at most {self.maximum}"
                raise _out_of_range(field, limit, shown(each))

    @property
    def schema(self) -> dict[str, Any]:
        items = {"type": "integer", "minimum": 0, "maximum": self.maximum}
        return {"items": items, **Count(self.maximum + 1).schema}


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of a few names; ``where`` says when that is so."""

    names: tuple[str, ...]
    where: str = ""

    def check(self, field: str, value: str) -> None:
        if value not in self.names:
            limit = f"one of {', '.join(self.names)}" + f" {self.where}" * bool(self.where)
            raise _out_of_range(field, limit, shown(value))

    @property
    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.names)}


def constraints(settings: Settings) -> Mapping[str, Constraint]:
    """The constraint of each parameter by its neutral name; ``scale`` is that of a LoRA, and
    ``switch_at`` that of a refiner."""
    side = Range(settings.min_side, settings.max_side)
    text = Length(settings.max_prompt_chars)
    return {
        "prompt": text,
        "prompt_2": text,
        "negative_prompt": text,
        "prompt_3": text,
        "negative_prompt_2": text,
        "negative_prompt_3": text,
        "width": side,
        "height": side,
        "num_inference_steps": Range(1, settings.max_steps),
        "guidance_scale": Range(0, _MAX_GUIDANCE_SCALE),
        "guidance_start": Range(0, 1),
        "guidance_end": Range(0, 1),
        "guidance_rescale": Range(0, 1),
        "skip_layers": Numbers(_MAX_LAYER),
        "skip_layer_scale": Range(0, _MAX_GUIDANCE_SCALE),
        "skip_layer_start": Range(0, 1),
        "skip_layer_end": Range(0, 1),
        "original_size": Pair(1, _MAX_ORIGINAL_SIDE),
        "crop": Pair(0, _MAX_ORIGINAL_SIDE),
        "aesthetic_score": Range(0, 10),
        "negative_aesthetic_score": Range(0, 10),
        "switch_at": Range(0, 1, exclusive=True, below=True),
        "strength": Range(0, 1, exclusive=True),
        "scheduler": OneOf(tuple(SCHEDULERS)),
        "seed": Range(RANDOM_SEED, MAX_SEED),
        "num_images": Range(1, settings.max_images),
        "output_format": OneOf(tuple(OutputFormat)),
        "output_quality": Range(0, BEST_QUALITY),
        "loras": Count(settings.max_loras),
        "scale": Range(-_MAX_LORA_SCALE, _MAX_LORA_SCALE),
    }


def check_interval(start: tuple[str, float], end: tuple[str, float]) -> None:
    """Raise ``ParameterError(OUT_OF_RANGE)`` unless ``start`` is below ``end``.

    Args:
        start: the field and its value; likewise ``end``.
    """
    (start_field, first), (end_field, last) = start, end
    if first >= last:
        raise ParameterError(
            ErrorCode.OUT_OF_RANGE,
            start_field,
            lambda name: (
                f"{name(start_field)} must be below {name(end_field)}, got {first:g} and {last:g}"
            ),
        )


def _out_of_range(field: str, limit: str, value: str) -> ParameterError:
    return ParameterError(
        ErrorCode.OUT_OF_RANGE, field, lambda name: f"{name(field)} must be {limit}, got {value}"
    )
