"""The OpenAPI documentation of predictions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api import event_stream
from api.bodies import Query
from api.errors import DESCRIPTIONS
from api.protocols.native.openapi_responses import COMPONENT, REQUEST_ID, reference
from api.protocols.native.responses import BINARY
from api.protocols.predictions import responses
from api.protocols.predictions.bodies import DeliveryQuery, ListQuery, OutputQuery, PredictionBody
from api.protocols.predictions.errors import MEDIA_TYPE, Problem
from contract.request import OutputFormat

JSON: Final = "application/json"
_MODELS: Final[tuple[type[BaseModel], ...]] = (
    responses.PredictionState,
    responses.PredictionPage,
    responses.SigningSecret,
    responses.WebhookDelivery,
    responses.WebhookDeliveries,
    responses.ReplicateModel,
    responses.ReplicateVersion,
    Problem,
)
_RETRY_AFTER: Final = {
    "description": "Seconds after which trying again makes sense, at most 120",
    "schema": {"type": "integer", "minimum": 1, "maximum": 120},
}
_EVENTS: Final = """\
Server-sent events; the data of each is JSON. `prediction`: how it is now. `start`: an attempt
begins. `progress`: `step` of `total` steps of the picture `index` are done. `output`: a picture is
ready. `dropped`: so many `events` are no longer there; null where nobody knows how many.
`completed`: the prediction; nothing follows. A client that comes back with `Last-Event-ID` gets
what it has missed, as far as it is kept: the last 128 events while it runs, the last 4 after that.
"""
PREFER: Final = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`wait=5`: wait so many seconds, at most 60, for the prediction to be over; "
    "`respond-async`: answer with 202",
    "schema": {"type": "string"},
    "example": "wait=5",
}
IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Names the request: sent again, it gives the same prediction",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "example": "order-4711",
}
_LAST_EVENT: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the last event that was received",
    "schema": {"type": "string"},
    "example": "0a1b2c3d-7",
}


@cache
def schemas() -> dict[str, Any]:
    """The bodies as named JSON Schemas, for the components."""
    _, made = models_json_schema(
        [
            (PredictionBody, "validation"),
            *((model, "serialization") for model in _MODELS),
        ],
        ref_template=COMPONENT,
    )
    named: dict[str, Any] = dict(made["$defs"])
    named["PredictionBody"]["example"] = PredictionBody.example
    # It is native's, and there already.
    named.pop("ErrorCode", None)
    return named


def body() -> dict[str, Any]:
    """The request body of a prediction."""
    return {"required": True, "content": {JSON: {"schema": reference(PredictionBody)}}}


def path_parameters(path: str) -> list[dict[str, Any]]:
    """The names in a path."""
    descriptions = {
        "id": "The id",
        "index": "Which picture, from 0",
        "owner": "Anything: it is not looked at",
        "name": "The model's name",
        "version": "The model's name once more",
    }
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": text,
            "schema": {"type": "string"},
        }
        for name, text in descriptions.items()
        if f"{{{name}}}" in path
    ]


def list_parameters() -> list[dict[str, Any]]:
    """The parameters in the URL of the list."""
    return _query(ListQuery)


def output_parameters() -> list[dict[str, Any]]:
    """The parameters in the URL of a picture."""
    return _query(OutputQuery)


def delivery_parameters() -> list[dict[str, Any]]:
    """The parameters in the URL of the deliveries."""
    return _query(DeliveryQuery)


def events_parameters() -> list[dict[str, Any]]:
    """The headers of the events."""
    return [_LAST_EVENT]


def json_responses(
    model: type[BaseModel], statuses: Mapping[int, str], *errors: int
) -> dict[int | str, dict[str, Any]]:
    """Responses with one body, under each status with its description, and errors."""
    content = {JSON: {"schema": reference(model)}}
    headers = {"X-Request-Id": REQUEST_ID}
    done: dict[int | str, dict[str, Any]] = {
        status: {"description": text, "content": content, "headers": headers}
        for status, text in statuses.items()
    }
    return done | _errors(*errors)


def empty_responses(*errors: int) -> dict[int | str, dict[str, Any]]:
    """The responses of what has nothing to say."""
    return {
        204: {"description": "It is done", "headers": {"X-Request-Id": REQUEST_ID}},
        **_errors(*errors),
    }


def events_responses(*errors: int) -> dict[int | str, dict[str, Any]]:
    """The responses of an event stream. Each event is an object to some, its text to others."""
    content = {event_stream.MEDIA_TYPE: {"schema": {"description": _EVENTS}}}
    return {200: {"description": "The events", "content": content}, **_errors(*errors)}


def output_responses(*errors: int) -> dict[int | str, dict[str, Any]]:
    """The responses of a picture."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    # With `Accept: application/octet-stream`; generated clients know no other of these.
    content = {**{one.media_type: binary for one in OutputFormat}, BINARY: binary}
    return {
        200: {"description": "The picture", "content": content},
        206: {"description": "The part of it that `Range` asks for", "content": content},
        304: {"description": "It is as `If-None-Match` has it"},
        416: {"description": "It is not so long"},
        **_errors(*errors),
    }


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    described: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        headers: dict[str, Any] = {"X-Request-Id": REQUEST_ID}
        if status in (429, 503, 507):
            headers["Retry-After"] = _RETRY_AFTER
        described[status] = {
            "description": DESCRIPTIONS[status],
            "content": {MEDIA_TYPE: {"schema": reference(Problem)}},
            "headers": headers,
        }
    return described


def _query(query: type[Query]) -> list[dict[str, Any]]:
    schema = query.model_json_schema()
    definitions = schema.get("$defs", {})

    def plain(properties: dict[str, Any]) -> dict[str, Any]:
        kind = dict(properties.get("anyOf", [properties])[0])
        if "$ref" in kind:
            kind = dict(definitions[kind["$ref"].rpartition("/")[2]])
        return {name: kind[name] for name in kind if name not in {"title", "description"}}

    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": properties["description"],
            "schema": plain(properties),
            **({"example": properties["examples"][0]} if "examples" in properties else {}),
        }
        for name, properties in schema["properties"].items()
    ]
