"""The OpenAPI documentation of OpenAI's protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api import event_stream
from api.backend import ServedModel
from api.errors import DESCRIPTIONS
from api.limits import constraints
from api.protocols.native import openapi, openapi_responses
from api.protocols.native.openapi_responses import COMPONENT, reference
from api.protocols.native.responses import JSON
from api.protocols.openai.bodies import (
    RENAMED,
    ImageEdit,
    ImageEditReferences,
    ImageGeneration,
    ImagesBody,
    ImageVariation,
    PictureReference,
)
from api.protocols.openai.errors import OpenAIError
from api.protocols.openai.form_fields import STRUCTURED
from api.protocols.openai.models import OpenAIModel, OpenAIModelList
from api.protocols.openai.responses import (
    CompletedEvent,
    ErrorEvent,
    ImagesResponse,
    PartialImageEvent,
)
from api.protocols.openai.tolerance import constraints as own_constraints
from settings import Settings

_EDIT, _VARIATION = "ImageEditForm", "ImageVariationForm"
_RESPONSES: Final[tuple[type[BaseModel], ...]] = (
    ImagesResponse,
    PartialImageEvent,
    CompletedEvent,
    ErrorEvent,
    OpenAIModel,
    OpenAIModelList,
    OpenAIError,
)
# A value out of range is 400 here.
_WORK: Final = tuple(status for status in openapi_responses.WORK_STATUSES if status != 422)
_LOOK: Final = (403, 404, 500, 503)
_HEADERS: Final = ("X-Seed", "X-Model", "X-LoRAs", "X-Request-Id")
_EVENTS = """\
Server-sent events, where `stream` is true. `{kind}.partial_image`: a `PartialImageEvent`.
`{kind}.completed`: a `CompletedEvent` for each picture, the last of which ends the stream. `error`:
an `ErrorEvent`; nothing follows it. Comments keep the connection alive in between.
"""
_EVENTS_EXAMPLE = """\
event: {kind}.completed
data: {{"type":"{kind}.completed","b64_json":"iVBORw0KG...","created_at":1795000000,\
"background":"opaque","quality":"auto","output_format":"png","size":"64x64","index":0,\
"usage":{{"input_tokens":7,"input_tokens_details":{{"image_tokens":0,"text_tokens":7}},\
"output_tokens":16,"total_tokens":23}},"revised_prompt":null,"seed":42,"screening":[],\
"model":"embedded","warnings":[]}}

"""


class Documentation:
    """Describes the endpoints with the limits and defaults that are in force.

    Args:
        settings: the limits.
        models: the served models; the first is the default.
        with_links: whether there may be links to pictures.
    """

    def __init__(self, settings: Settings, models: Sequence[ServedModel], with_links: bool) -> None:
        self._native = openapi.Documentation(settings, models)
        self._models = models
        self._max_input_pixels = settings.max_input_pixels
        limits = constraints(settings)
        own = own_constraints(with_links)
        self._with_links = with_links
        self._keywords = {name: constraint.schema for name, constraint in own.items()} | {
            "n": limits["num_images"].schema,
            "output_compression": limits["output_quality"].schema,
        }

    def schemas(self) -> dict[str, Any]:
        """The named JSON Schemas of requests and responses."""
        mask = self._picture("The mask, of the same size: what is transparent is edited")
        return {
            **_response_schemas(),
            ImageGeneration.__name__: self._body(ImageGeneration),
            ImageEditReferences.__name__: self._body(ImageEditReferences),
            PictureReference.__name__: self._native.body_schema(PictureReference),
            _EDIT: {**self._form(ImageEdit, {"mask": mask}), "title": _EDIT},
            _VARIATION: {**self._form(ImageVariation), "title": _VARIATION},
        }

    def generations_body(self) -> dict[str, Any]:
        """The request body of ``/v1/images/generations``."""
        return {"required": True, "content": {JSON: {"schema": reference(ImageGeneration)}}}

    def edits_body(self) -> dict[str, Any]:
        """The request body of ``/v1/images/edits``."""
        content = _form_content(_EDIT) | {JSON: {"schema": reference(ImageEditReferences)}}
        return {"required": True, "content": content}

    def variations_body(self) -> dict[str, Any]:
        """The request body of ``/v1/images/variations``."""
        return {"required": True, "content": _form_content(_VARIATION)}

    def picture_parameters(self) -> list[dict[str, Any]]:
        """The parameters in the URL of what makes pictures."""
        return [
            {
                "name": "api-version",
                "in": "query",
                "required": False,
                "description": "What some clients send. Ignored, with a warning, like any other "
                "parameter here",
                "schema": {"type": "string"},
            }
        ]

    def picture_responses(self, kind: str | None) -> dict[int | str, dict[str, Any]]:
        """The responses with pictures; ``kind`` begins the names of events, if there are any."""
        content: dict[str, Any] = {JSON: {"schema": reference(ImagesResponse)}}
        if kind is not None:
            content[event_stream.MEDIA_TYPE] = {
                "schema": {"type": "string", "description": _EVENTS.format(kind=kind)},
                "example": _EVENTS_EXAMPLE.format(kind=kind),
            }
        headers = openapi_responses.picture_responses()[200]["headers"]
        kept = (507,) if self._with_links else ()
        errors = openapi_responses.error_responses(OpenAIError, *_WORK, *kept)
        errors[400]["description"] += f". {DESCRIPTIONS[422]}"
        return {
            200: {
                "description": "The pictures",
                "content": content,
                "headers": {name: headers[name] for name in _HEADERS},
            },
            **errors,
        }

    def model_responses(self, body: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
        """The responses about models."""
        return {
            200: {
                "description": (body.__doc__ or "").strip(),
                "content": {JSON: {"schema": reference(body)}},
                "headers": {"X-Request-Id": openapi_responses.REQUEST_ID},
            },
            **openapi_responses.error_responses(OpenAIError, *_LOOK),
        }

    def model_parameters(self) -> list[dict[str, Any]]:
        """The parameters in the path of a model."""
        return [
            {
                "name": "model",
                "in": "path",
                "required": True,
                "description": "One of the names that `GET /v1/models` lists",
                "schema": {"type": "string"},
                "example": self._models[0].name,
            }
        ]

    def _body(self, body: type[ImagesBody]) -> dict[str, Any]:
        schema = self._native.body_schema(body)
        for name in RENAMED:
            del schema["properties"][name]
        for name, properties in schema["properties"].items():
            # Generated clients send defaults, and some fields exclude each other.
            properties.pop("default", None)
            properties.update(self._keywords.get(name, {}))
            if "enum" in properties and None not in properties["enum"]:
                properties["enum"] = [*properties["enum"], None]
        return schema

    def _form(
        self, body: type[ImagesBody], more: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The schema of a form: the same without null, and with the pictures."""
        schema = self._body(body)
        schema.pop("example", None)
        properties = {
            name: _json_text(one) if name in STRUCTURED else _never_null(one)
            for name, one in schema["properties"].items()
        }
        image = self._picture(
            "The input picture, once; `image[]` is the same. It must be there as one of them"
        )
        return {
            **schema,
            "properties": {"image": image, **(more or {}), **properties},
            "required": ["image", *schema.get("required", ())],
        }

    def _picture(self, what: str) -> dict[str, Any]:
        return {
            "type": "string",
            "format": "binary",
            "description": f"{what}. A PNG, JPEG or WebP of at most {self._max_input_pixels} "
            "pixels",
        }


@cache
def _response_schemas() -> dict[str, Any]:
    """The schemas that do not depend on what is served, but for those of the native protocol."""
    _, schemas = models_json_schema(
        [(body, "serialization") for body in _RESPONSES], ref_template=COMPONENT
    )
    native = openapi_responses.response_schemas()
    return {name: one for name, one in schemas["$defs"].items() if name not in native}


def _form_content(name: str) -> dict[str, Any]:
    return {"multipart/form-data": {"schema": {"$ref": COMPONENT.format(model=name)}}}


def _never_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(schema)
    if isinstance(kept.get("type"), list):
        (kept["type"],) = (kind for kind in kept["type"] if kind != "null")
    if "enum" in kept:
        kept["enum"] = [value for value in kept["enum"] if value is not None]
    if kept.get("examples") == [None]:
        del kept["examples"]
    return kept


def _json_text(schema: Mapping[str, Any]) -> dict[str, Any]:
    examples = [json.dumps(value) for value in schema.get("examples", ())]
    return {
        "type": "string",
        "contentMediaType": JSON,
        "description": f"{schema['description']}. As JSON",
        **({"examples": examples} if examples else {}),
    }
