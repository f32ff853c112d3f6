"""What the OpenAPI document says about request bodies and error answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from api.backend import ServedModel
from api.errors import DESCRIPTIONS, ErrorBody
from api.limits import constraints
from api.schemas import Body, Img2ImgBody, Txt2ImgBody
from engine.request import OutputFormat
from settings import Settings

_RETRY_AFTER = {
    "description": "Seconds after which trying again makes sense, at most 120",
    "schema": {"type": "integer", "minimum": 1, "maximum": 120},
}
_REQUEST_ID = {
    "description": "Name of the request in the logs; the client's own, if it sent a sane one",
    "schema": {"type": "string"},
}


class _Schema(GenerateJsonSchema):
    """Writes ``int | None`` as ``{"type": ["integer", "null"]}``, which reads better."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        return {**inner, "type": [inner["type"], "null"]}


class Documentation:
    """Describes the endpoints with the limits and defaults that are in force.

    Args:
        settings: the limits.
        models: what is served; the first is the default.
    """

    def __init__(self, settings: Settings, models: Sequence[ServedModel]) -> None:
        self._settings = settings
        self._model = models[0]
        # What every model asks for; one of them may ask for more.
        multiple = {"multipleOf": math.gcd(*(model.multiple_of for model in models))}
        self._keywords: dict[str, dict[str, Any]] = {
            name: constraint.schema for name, constraint in constraints(settings).items()
        }
        self._keywords["width"] |= multiple
        self._keywords["height"] |= multiple
        self._keywords["model"] = {"enum": [model.name for model in models]}

    def schemas(self) -> dict[str, Any]:
        """The bodies as named JSON Schemas, for the document's components."""
        return {body.__name__: self._body_schema(body) for body in (Txt2ImgBody, Img2ImgBody)}

    def _body_schema(self, body: type[Txt2ImgBody]) -> dict[str, Any]:
        schema = body.model_json_schema(schema_generator=_Schema)
        schema["example"] = body.example
        defaults = self._defaults(body)
        for field, properties in schema["properties"].items():
            properties.update(self._keywords[field])
            if "enum" in properties:
                properties["enum"] = [*properties["enum"], None]
            properties.pop("default", None)
            if field in defaults:
                properties["default"] = defaults[field]
                properties.setdefault("examples", [defaults[field]])
        return schema

    def json_body(self) -> dict[str, Any]:
        """The request body of ``/txt2img``."""
        media = {"schema": _reference(Txt2ImgBody)}
        return {"required": True, "content": {"application/json": media}}

    def multipart_body(self) -> dict[str, Any]:
        """The request body of ``/img2img``."""
        picture = {
            "type": "string",
            "format": "binary",
            "description": "The input picture: PNG, JPEG or WebP, at most "
            f"{self._settings.max_input_pixels} pixels. Transparency becomes white, of an "
            "animation the first frame counts, and the EXIF orientation is applied.",
        }
        schema = {
            "type": "object",
            "required": ["img", "data"],
            "additionalProperties": False,
            "properties": {"img": picture, "data": _reference(Img2ImgBody)},
        }
        encoding = {"data": {"contentType": "application/json"}}
        media = {"schema": schema, "encoding": encoding}
        return {"required": True, "content": {"multipart/form-data": media}}

    def _defaults(self, body: type[Body]) -> dict[str, Any]:
        model = self._model
        defaults: dict[str, Any] = {
            "negative_prompt": "",
            "num_inference_steps": model.num_inference_steps,
            "guidance_scale": model.guidance_scale,
            "scheduler": model.scheduler,
            "model": model.name,
            "output_format": OutputFormat.PNG.value,
        }
        if body is Img2ImgBody:
            # Width and height follow the input picture.
            return {**defaults, "strength": model.strength}
        return {**defaults, "width": model.width, "height": model.height}


def _reference(body: type[Body]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{body.__name__}"}


def picture_responses() -> dict[int | str, dict[str, Any]]:
    """The answers of an endpoint that makes a picture."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    text = {"schema": {"type": "string"}}
    headers = {
        "X-Seed": {
            "description": "The seed that was used",
            "schema": {"type": "integer"},
        },
        "X-Model": {"description": "The model that was used", **text},
        "X-Request-Id": _REQUEST_ID,
    }
    picture = {
        "description": "The picture, with its parameters inside the file",
        "content": {file_format.media_type: binary for file_format in OutputFormat},
        "headers": headers,
    }
    return {200: picture, **error_responses(400, 404, 413, 415, 422, 429, 500, 503, 504)}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error answers, all with the native body."""
    responses: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        headers: dict[str, Any] = {"X-Request-Id": _REQUEST_ID}
        if status in (429, 503):
            headers["Retry-After"] = _RETRY_AFTER
        description = DESCRIPTIONS[status]
        responses[status] = {"model": ErrorBody, "description": description, "headers": headers}
    return responses
