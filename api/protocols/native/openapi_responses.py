"""The OpenAPI documentation of the native responses."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api import event_stream
from api.errors import DESCRIPTIONS, MAX_RETRY_AFTER
from api.protocols.native.errors import ErrorBody
from api.protocols.native.model_list import ModelList
from api.protocols.native.responses import BINARY, JSON
from api.protocols.native.results import GeneratedImages, Predictions
from api.warnings_header import MAX_CHARS
from contract.request import OutputFormat

COMPONENT: Final = "#/components/schemas/{model}"

_EVENTS = """\
Server-sent events; the data of each is JSON. `queued`: `position`, the jobs in front. `progress`:
`step` of `total` steps of the picture `index` are done, at most ten times a second; with
`"previews": true` in the body also, while it is unfinished, `preview`: a small PNG in base64, one
pixel per latent. `image`: a finished picture, like an element of `images` in the JSON response;
several come in any order. `error`: like the body of an error response; nothing follows it. Comments
keep the connection alive in between.
"""
_EVENTS_EXAMPLE = """\
event: queued
data: {"position": 0}

event: progress
data: {"index": 0, "step": 1, "total": 20}

event: image
data: {"index":0,"data":"iVBORw0KG...","media_type":"image/png","width":64,"height":64,"seed":42,\
"prompt":"a red apple","warnings":[],"screening":[]}

"""
_RETRY_AFTER = {
    "description": "Seconds after which trying again makes sense: at most 120, but for a quota",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_RETRY_AFTER},
}
# What an endpoint that takes bodies and does work may respond with.
WORK_STATUSES: Final = (400, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504)
REQUEST_ID: Final = {
    "description": "Name of the request in the logs; the client's own, if it sent a valid one",
    "schema": {"type": "string"},
}


def reference(model: type[BaseModel]) -> dict[str, Any]:
    """A reference to the named JSON Schema of a model."""
    return {"$ref": COMPONENT.format(model=model.__name__)}


@cache
def response_schemas() -> dict[str, Any]:
    """The response bodies as named JSON Schemas, for the components."""
    _, schemas = models_json_schema(
        [
            (GeneratedImages, "serialization"),
            (Predictions, "serialization"),
            (ModelList, "serialization"),
            (ErrorBody, "serialization"),
        ],
        ref_template=COMPONENT,
    )
    return dict(schemas["$defs"])


def picture_responses(as_predictions: bool = False) -> dict[int | str, dict[str, Any]]:
    """The responses of an endpoint that makes pictures; ``as_predictions`` says whether a client
    may prefer one of those."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    text = {"schema": {"type": "string"}}
    headers = {
        "X-Seed": {
            "description": "The seed that was used; of several pictures, that of the first",
            "schema": {"type": "integer"},
        },
        "X-Model": {"description": "The model that was used", **text},
        "X-LoRAs": {
            "description": "The LoRAs of `loras` with their scales: `clay:0.8, wool:1`",
            **text,
        },
        "X-Warnings": {
            "description": "Adjusted parameters and other deviations, if any: a "
            f"JSON array of sentences in ASCII, at most {MAX_CHARS} characters long (the "
            "JSON body has them in full). An event stream has them in its `image` events",
            **text,
        },
        "X-Screening": {
            "description": "The screening checks that found something in one of the pictures, if "
            "any, such as `grayscale, blank`. An event stream has them in its `image` events",
            **text,
        },
        "X-Request-Id": REQUEST_ID,
    }
    picture = {
        "description": "The picture, with its parameters inside the file; with "
        "`Accept: application/octet-stream` the same under that type. With "
        "`Accept: application/json`, and always where `num_images` is above 1: a JSON object with "
        "the pictures in base64. With `Accept: text/event-stream`: the progress, then the pictures",
        "content": {
            **{file_format.media_type: binary for file_format in OutputFormat},
            # Before JSON: generated clients take the first type that they know for all answers.
            BINARY: binary,
            JSON: {"schema": reference(GeneratedImages)},
            event_stream.MEDIA_TYPE: {
                "schema": {"type": "string", "description": _EVENTS},
                "example": _EVENTS_EXAMPLE,
            },
        },
        "headers": headers,
    }
    responses = {200: picture, **error_responses(ErrorBody, *WORK_STATUSES)}
    if not as_predictions:
        return responses
    accepted = {
        "description": "The prediction that the request has become, with `Prefer: respond-async`",
        "content": {JSON: {"schema": {"$ref": COMPONENT.format(model="PredictionState")}}},
        "headers": {"X-Request-Id": REQUEST_ID},
    }
    return {**responses, 202: accepted, **error_responses(ErrorBody, 409, 507)}


def prediction_responses() -> dict[int | str, dict[str, Any]]:
    """The responses of the classifier."""
    predictions = {
        "description": "The likeliest labels",
        "content": {JSON: {"schema": reference(Predictions)}},
        "headers": {"X-Request-Id": REQUEST_ID},
    }
    return {
        200: predictions,
        **error_responses(ErrorBody, 400, 403, 408, 413, 415, 422, 429, 500, 503, 504),
    }


def model_responses() -> dict[int | str, dict[str, Any]]:
    """The responses of the list of models."""
    models = {
        "description": "The served models",
        "content": {JSON: {"schema": reference(ModelList)}},
        "headers": {"X-Request-Id": REQUEST_ID},
    }
    return {200: models, **error_responses(ErrorBody, 400, 403, 503)}


def error_responses(body: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error responses, all with the body of a protocol."""
    responses: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        headers: dict[str, Any] = {"X-Request-Id": REQUEST_ID}
        if status in (429, 503, 507):
            headers["Retry-After"] = _RETRY_AFTER
        responses[status] = {
            "description": DESCRIPTIONS[status],
            "content": {JSON: {"schema": reference(body)}},
            "headers": headers,
        }
    return responses
