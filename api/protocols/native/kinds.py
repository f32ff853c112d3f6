"""The kinds of the native bodies' fields, for protocols that write them in another way."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from api.bodies import Body

Kind = Literal["text", "integer", "number", "boolean", "integers", "json", "picture"]


def kinds(body: type[Body], without: Collection[str] = ()) -> dict[str, Kind]:
    """The kind of each field of a body, but for some."""
    properties = body.model_json_schema()["properties"]
    return {
        name: _kind(schema.get("anyOf", [schema])[0])
        for name, schema in properties.items()
        if name not in without
    }


def _kind(schema: Mapping[str, Any]) -> Kind:
    match schema:
        case {"type": "string"}:
            return "text"
        case {"type": "integer" | "number" | "boolean" as kind}:
            named: Kind = kind
            return named
        case {"type": "array", "items": {"type": "integer"}}:
            return "integers"
        case _:
            return "json"
