"""What the OpenAPI document says about request bodies and error answers."""

from __future__ import annotations

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
        model: the default model.
    """

    def __init__(self, settings: Settings, model: ServedModel) -> None:
        self._constraints = constraints(settings)
        self._settings = settings
        self._model = model

    def body_schema(self, body: type[Txt2ImgBody]) -> dict[str, Any]:
        """The JSON Schema of a body: types from the model, ranges and defaults as in force."""
        schema = body.model_json_schema(schema_generator=_Schema)
        defaults = self._defaults(body)
        for field, properties in schema["properties"].items():
            if field in self._constraints:
                properties.update(self._constraints[field].schema)
            if "enum" in properties:
                properties["enum"] = [*properties["enum"], None]
            properties.pop("default", None)
            if field in defaults:
                properties["default"] = defaults[field]
                properties.setdefault("examples", [defaults[field]])
        return schema

    def json_body(self) -> dict[str, Any]:
        """The request body of ``/txt2img``."""
        media = {"schema": self.body_schema(Txt2ImgBody), "example": Txt2ImgBody.example}
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
        data = {**self.body_schema(Img2ImgBody), "example": Img2ImgBody.example}
        schema = {
            "type": "object",
            "required": ["img", "data"],
            "additionalProperties": False,
            "properties": {"img": picture, "data": data},
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
