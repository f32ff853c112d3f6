"""What the OpenAPI document says about request bodies and error answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from api import event_stream
from api.backend import ServedModel
from api.classification import DEFAULT_TOP_K
from api.errors import DESCRIPTIONS, ErrorBody
from api.limits import INPAINT_STRENGTH, Range, constraints
from api.responses import JSON, MAX_WARNINGS_CHARS
from api.schemas import (
    Body,
    ClassifyQuery,
    DreamboothQuery,
    GeneratedImages,
    Img2ImgBody,
    InpaintBody,
    LoraBody,
    Predictions,
    Query,
    Txt2ImgBody,
)
from contract.request import OutputFormat
from models.finetuned import AUTO
from models.vit import ViT
from settings import Settings

_BODIES = (Txt2ImgBody, Img2ImgBody, InpaintBody, LoraBody)
_COMPONENT = "#/components/schemas/{name}"

_EVENTS = """\
Server-sent events; the data of each is JSON. `queued`: `position`, the jobs in front. `progress`:
`step` of `total` steps of the picture `index` are done, at most ten times a second; with
`"previews": true` in the body also, while it is unfinished, `preview`: a small PNG in base64, one
pixel per latent. `image`: a finished picture, like an element of `images` in the JSON answer;
several come in any order. `error`: like the body of an error answer; nothing follows it. Comments
come in between while there is nothing to say.
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
        vit: the image classifier, if there is one.
    """

    def __init__(
        self, settings: Settings, models: Sequence[ServedModel], vit: ViT | None = None
    ) -> None:
        self._vit = vit
        self._settings = settings
        self._models = models
        # What every model asks for; one of them may ask for more.
        multiple = {"multipleOf": math.gcd(*(model.multiple_of for model in models))}
        self._keywords: dict[str, dict[str, Any]] = {
            name: constraint.schema for name, constraint in constraints(settings).items()
        }
        self._keywords["width"] |= multiple
        self._keywords["height"] |= multiple

    def schemas(self) -> dict[str, Any]:
        """The bodies of requests and answers as named JSON Schemas, for the components."""
        _, answers = models_json_schema(
            [(GeneratedImages, "serialization"), (Predictions, "serialization")],
            ref_template=_COMPONENT.format(name="{model}"),
        )
        bodies = {body.__name__: self._body_schema(body) for body in _BODIES}
        return {**bodies, **answers["$defs"]}

    def _body_schema(self, body: type[Body]) -> dict[str, Any]:
        schema = body.model_json_schema(
            schema_generator=_Schema, ref_template=_COMPONENT.format(name="{model}")
        )
        # Others that it refers to are components too.
        schema.pop("$defs", None)
        defaults: dict[str, Any] = {"scale": 1.0}
        if issubclass(body, Txt2ImgBody):
            schema["example"] = body.example
            defaults = self._defaults(body)
            names = [model.name for model in self._models if body.task in model.tasks]
            schema["properties"]["model"]["examples"] = [*names, AUTO]
        for field, properties in schema["properties"].items():
            properties.update(self._keywords.get(field, {}))
            if "enum" in properties:
                properties["enum"] = [*properties["enum"], None]
            properties.pop("default", None)
            if field in defaults:
                properties["default"] = defaults[field]
                properties.setdefault("examples", [defaults[field]])
        return schema

    def dreambooth_parameters(self) -> list[dict[str, Any]]:
        """The parameters in the URL of ``/dreambooth``."""
        keywords = {
            "prompt": {"type": "string", **self._keywords["prompt"]},
            "img_size": {"type": "integer", **self._keywords["width"]},
        }
        return _parameters(DreamboothQuery, keywords)

    def classify_parameters(self) -> list[dict[str, Any]]:
        """The parameters in the URL of ``/classify``."""
        labels = 1 if self._vit is None else len(self._vit.labels)
        top_k = {**Range(1, labels).schema, "default": min(DEFAULT_TOP_K, labels)}
        return _parameters(ClassifyQuery, {"top_k": {"type": "integer", **top_k}})

    def classify_body(self) -> dict[str, Any]:
        """The request body of ``/classify``."""
        return _form(img=self._picture("The picture"))

    def txt2img_body(self) -> dict[str, Any]:
        """The request body of ``/txt2img``."""
        media = {"schema": _reference(Txt2ImgBody)}
        return {"required": True, "content": {"application/json": media}}

    def img2img_body(self) -> dict[str, Any]:
        """The request body of ``/img2img``."""
        return _form(Img2ImgBody, img=self._picture("The input picture"))

    def inpaint_body(self) -> dict[str, Any]:
        """The request body of ``/inpaint``."""
        mask = self._picture(
            "The mask, of the same size as `img`: what is white is painted anew, what is black is "
            "kept; grey counts as the nearer of the two"
        )
        return _form(InpaintBody, img=self._picture("The input picture"), mask=mask)

    def _picture(self, what: str) -> dict[str, Any]:
        return {
            "type": "string",
            "format": "binary",
            "description": f"{what}: PNG, JPEG or WebP, at most "
            f"{self._settings.max_input_pixels} pixels. Transparency becomes white, of an "
            "animation the first frame counts, and the EXIF orientation is applied.",
        }

    def _defaults(self, body: type[Txt2ImgBody]) -> dict[str, Any]:
        model = self._models[0]
        defaults: dict[str, Any] = {
            "negative_prompt": "",
            "expand_prompt": False,
            "num_inference_steps": model.defaults.num_inference_steps,
            "guidance_scale": model.defaults.guidance_scale,
            "scheduler": model.defaults.scheduler,
            "num_images": 1,
            "output_format": OutputFormat.PNG.value,
            "previews": False,
            "loras": [],
        }
        if body.task in model.tasks:
            defaults["model"] = model.name
        if body is Txt2ImgBody:
            defaults |= {"width": model.defaults.width, "height": model.defaults.height}
        # Otherwise width and height follow the input picture.
        elif body is InpaintBody:
            defaults["strength"] = INPAINT_STRENGTH
        else:
            defaults["strength"] = model.defaults.strength
        return defaults


def _parameters(query: type[Query], keywords: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The parameters of a URL, each with the keywords of its type and range."""
    schema = query.model_json_schema(schema_generator=_Schema)
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "description": properties["description"],
            "schema": keywords[name],
            # The page suggests this one, and none of the schema's.
            "example": properties["examples"][0],
        }
        for name, properties in schema["properties"].items()
    ]


def _form(body: type[Body] | None = None, **pictures: dict[str, Any]) -> dict[str, Any]:
    """A multipart request body: pictures, and the JSON of ``body`` as ``data``."""
    parts = dict(pictures)
    media: dict[str, Any] = {}
    if body is not None:
        parts["data"] = _reference(body)
        media["encoding"] = {"data": {"contentType": JSON}}
    media["schema"] = {
        "type": "object",
        "required": list(parts),
        "additionalProperties": False,
        "properties": parts,
    }
    return {"required": True, "content": {"multipart/form-data": media}}


def _reference(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": _COMPONENT.format(name=model.__name__)}


def picture_responses() -> dict[int | str, dict[str, Any]]:
    """The answers of an endpoint that makes pictures."""
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
            "description": "What of the request was not followed to the letter, if anything: a "
            f"JSON array of sentences in ASCII, at most {MAX_WARNINGS_CHARS} characters long (the "
            "JSON body has them in full). An event stream has them in its `image` events",
            **text,
        },
        "X-Screening": {
            "description": "The screening checks that found something in one of the pictures, if "
            "any, such as `grayscale, blank`. An event stream has them in its `image` events",
            **text,
        },
        "X-Request-Id": _REQUEST_ID,
    }
    picture = {
        "description": "The picture, with its parameters inside the file. With "
        "`Accept: application/json`, and always where `num_images` is above 1: a JSON object with "
        "the pictures in base64. With `Accept: text/event-stream`: the progress, then the pictures",
        "content": {
            **{file_format.media_type: binary for file_format in OutputFormat},
            JSON: {"schema": _reference(GeneratedImages)},
            event_stream.MEDIA_TYPE: {
                "schema": {"type": "string", "description": _EVENTS},
                "example": _EVENTS_EXAMPLE,
            },
        },
        "headers": headers,
    }
    return {200: picture, **error_responses(400, 404, 413, 415, 422, 429, 500, 503, 504)}


def prediction_responses() -> dict[int | str, dict[str, Any]]:
    """The answers of the classifier."""
    answer = {
        "description": "The likeliest labels",
        "content": {JSON: {"schema": _reference(Predictions)}},
        "headers": {"X-Request-Id": _REQUEST_ID},
    }
    return {200: answer, **error_responses(400, 413, 415, 422, 429, 500, 503, 504)}


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
