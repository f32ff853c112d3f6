"""Strict JSON bodies and URL parameters: base classes, and their mistakes as sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from api.errors import shown
from contract.errors import ErrorCode, RequestError

# What pydantic calls a mistake, and what we call it.
_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "an array",
    "dict_type": "a JSON object",
    "int_parsing": "an integer",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
}

# Mistakes that are about a limit, not about the form.
_RANGES = frozenset({"finite_number", "too_long"})

# Pydantic describes all of them, and 7,000 take it a twentieth of a second.
_MAX_MISTAKES = 100


class Body(BaseModel):
    """A JSON object with exactly the documented fields, each of exactly its type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, data: bytes | bytearray) -> Self:
        """Read UTF-8 JSON. Raises ``RequestError`` for anything else, and for a wrong field."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise from_validation(error, cls.known_fields()) from None

    @classmethod
    def known_fields(cls) -> dict[str, list[str]]:
        """The names of its fields, under "", and of those of the objects in a list, under its."""
        return {"": list(cls.model_fields)}


class Query(Body):
    """The parameters of a URL, exactly the documented ones."""

    @classmethod
    def of(cls, parameters: Sequence[tuple[str, str]]) -> Self:
        """Read them. Raises ``RequestError``."""
        values: dict[str, str] = {}
        for name, value in parameters:
            if name in values:
                message = f"{shown(name)} may be given once only"
                raise RequestError(ErrorCode.INVALID_REQUEST, message, field=name)
            values[name] = value
        try:
            return cls.model_validate_strings(values)
        except ValidationError as error:
            raise from_validation(error, cls.known_fields()) from None


def from_validation(error: ValidationError, known: Mapping[str, Iterable[str]]) -> RequestError:
    """Put the first mistake that pydantic found into our words.

    Args:
        known: the names of the body's fields, under "", and those of the objects in a list, under
            the list's name.
    """
    count = error.error_count()
    if count > _MAX_MISTAKES:
        return RequestError(ErrorCode.INVALID_REQUEST, f"the body has {count} mistakes")
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or None
    code = ErrorCode.OUT_OF_RANGE if first["type"] in _RANGES else ErrorCode.INVALID_REQUEST
    known_fields = known.get(str(first["loc"][0]) if len(first["loc"]) > 1 else "", ())
    return RequestError(code, _sentence(first, field, known_fields), field=field)


def _sentence(mistake: ErrorDetails, field: str | None, known_fields: Iterable[str]) -> str:
    kind = mistake["type"]
    if kind == "json_invalid":
        return f"the body is not valid JSON: {mistake['ctx']['error']}"
    if kind == "model_type":
        return f"{field or 'the body'} must be a JSON object"
    if kind == "missing":
        return f"{field} is required"
    if kind == "extra_forbidden":
        return f"{shown(field)} is not a field; the fields are {', '.join(known_fields)}"
    if kind == "finite_number":
        return f"{field} must be a finite number"
    if kind == "too_long":
        return f"{field} must be at most {mistake['ctx']['max_length']} elements long, got more"
    if kind in _EXPECTED:
        return f"{field} must be {_EXPECTED[kind]}, not {shown(mistake['input'])}"
    return f"{field}: {mistake['msg']}, got {shown(mistake['input'])}"
