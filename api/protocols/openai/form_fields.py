"""The fields of a form: texts, lists and objects in the notations that OpenAI's clients write."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from api.bodies import from_validation
from api.errors import shown
from api.protocols.native.kinds import kinds
from api.protocols.native.schemas import InpaintBody
from api.protocols.openai.bodies import ImagesBody
from contract.errors import ErrorCode, RequestError

B = TypeVar("B", bound=ImagesBody)

# ``n``, ``skip_layers[]``, ``loras[][name]``, ``refiner[switch_at]``.
_NAME = re.compile(r"([^\[\]]+)(\[\])?(?:\[([^\[\]]+)\])?")
# Lists and objects: their texts are JSON.
STRUCTURED: Final = frozenset(
    name for name, kind in kinds(InpaintBody).items() if kind in ("json", "integers")
)


def parse(schema: type[B], parts: Iterable[tuple[str, bytes]]) -> B:
    """Read the parts of a form that are no pictures.

    Args:
        schema: the body that they make.
        parts: their names and texts, in their order.

    Raises:
        RequestError: INVALID_REQUEST for a name that is there twice or contradicts another one,
            for what is not UTF-8 or no JSON, and for a wrong field.
    """
    fields: dict[str, Any] = {}
    for name, data in parts:
        _put(fields, name, data)
    try:
        # Numbers are texts here.
        return schema.model_validate(fields, strict=False)
    except ValidationError as error:
        raise from_validation(error, schema.known_fields()) from None


def _put(fields: dict[str, Any], name: str, data: bytes) -> None:
    """Add what a part says to the fields."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise _invalid(name, "must be UTF-8") from None
    parts = _NAME.fullmatch(name)
    field, several, key = (name, None, None) if parts is None else parts.groups()
    if several is None and key is None:
        if field in fields:
            raise _invalid(field, "may be there once only")
        fields[field] = _json(field, text) if field in STRUCTURED else text
        return
    place = fields.setdefault(field, [] if several else {})
    if not isinstance(place, list if several else dict):
        raise _invalid(field, "must be written in one way only")
    if isinstance(place, list):
        if key is None:
            place.append(text)
            return
        # A key that is there already begins the next object.
        if not place or not isinstance(place[-1], dict) or key in place[-1]:
            place.append({})
        place = place[-1]
    if key in place:
        raise _invalid(f"{field}.{key}", "may be there once only")
    place[key] = text


def _json(field: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _invalid(field, f"must be JSON, got {shown(text)}") from None


def _invalid(field: str, what: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_REQUEST, f"{shown(field)} {what}", field=field)
