"""The OpenAPI documentation of the native request bodies and parameters."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from typing import Any, get_args

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from api.backend import ServedModel
from api.bodies import Body, Query
from api.classifier import DEFAULT_TOP_K
from api.limits import INPAINT_STRENGTH, Range, constraints
from api.protocols.native.nested import LoraBody, RefinerBody
from api.protocols.native.openapi_responses import COMPONENT, reference
from api.protocols.native.responses import JSON
from api.protocols.native.schemas import (
    ClassifyQuery,
    DreamboothQuery,
    Img2ImgBody,
    InpaintBody,
    Txt2ImgBody,
)
from contract.request import OutputFormat
from models.architectures import RequestField
from models.finetuned import AUTO
from models.vit import ViT
from settings import Settings

# Absent by default, which means what their descriptions say. A default that clients send would be
# refused by the models that do not take the field.
_NONE = ("negative_prompt", *get_args(RequestField))
_BODIES = (Txt2ImgBody, Img2ImgBody, InpaintBody, LoraBody, RefinerBody)
_IMG2IMG, _INPAINT, _CLASSIFY = "Img2ImgForm", "InpaintForm", "ClassifyForm"


class _Schema(GenerateJsonSchema):
    """JSON Schema with ``{"type": ["integer", "null"]}`` for ``int | None``: shorter."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        if "type" not in inner:
            return {"anyOf": [inner, {"type": "null"}]}
        return {**inner, "type": [inner["type"], "null"]}


class Documentation:
    """Describes the endpoints with the limits and defaults that are in force.

    Args:
        settings: the limits.
        models: the served models; the first is the default.
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
        """The request bodies as named JSON Schemas, for the components.

        The forms are among them: generators of clients name an inline one after its operation, as
        the body within it is named already.
        """
        bodies = {body.__name__: self.body_schema(body) for body in _BODIES}
        return bodies | self._forms()

    def _forms(self) -> dict[str, Any]:
        picture = self._picture("The input picture")
        mask = self._picture(
            "The mask, of the same size as `img`: white is inpainted, black is "
            "kept; grey counts as the nearer of the two"
        )
        return {
            _IMG2IMG: _form(img=picture, data=reference(Img2ImgBody)),
            _INPAINT: _form(img=picture, mask=mask, data=reference(InpaintBody)),
            _CLASSIFY: _form(img=self._picture("The picture")),
        }

    def body_schema(self, body: type[Body]) -> dict[str, Any]:
        """The JSON Schema of one of the request bodies, or of an object in one."""
        schema: dict[str, Any] = json.loads(_generated(body))
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
        return _form_body(_CLASSIFY)

    def txt2img_body(self) -> dict[str, Any]:
        """The request body of ``/txt2img``."""
        media = {"schema": reference(Txt2ImgBody)}
        return {"required": True, "content": {"application/json": media}}

    def img2img_body(self) -> dict[str, Any]:
        """The request body of ``/img2img``."""
        return _form_body(_IMG2IMG, with_data=True)

    def inpaint_body(self) -> dict[str, Any]:
        """The request body of ``/inpaint``."""
        return _form_body(_INPAINT, with_data=True)

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
            "expand_prompt": False,
            "num_inference_steps": model.defaults.num_inference_steps,
            "guidance_scale": model.defaults.guidance_scale,
            "guidance_start": 0.0,
            "guidance_end": 1.0,
            **dict.fromkeys(_NONE),
            "scheduler": model.defaults.scheduler,
            "num_images": 1,
            "output_format": OutputFormat.PNG.value,
            "previews": False,
            "loras": [],
        }
        if body.task in model.tasks:
            defaults["model"] = model.name
        if not issubclass(body, Img2ImgBody):
            defaults |= {"width": model.defaults.width, "height": model.defaults.height}
        # Otherwise width and height follow the input picture.
        elif issubclass(body, InpaintBody):
            defaults["strength"] = INPAINT_STRENGTH
        else:
            defaults["strength"] = model.defaults.strength
        return defaults


@cache
def _generated(body: type[Body]) -> str:
    """The schema of a body as pydantic knows it: it takes a while, and does not change."""
    schema = body.model_json_schema(schema_generator=_Schema, ref_template=COMPONENT)
    # Others that it refers to are components too.
    schema.pop("$defs", None)
    return json.dumps(schema)


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


def _form(**parts: dict[str, Any]) -> dict[str, Any]:
    """The JSON Schema of a multipart body, all of whose parts are required."""
    return {
        "type": "object",
        "required": list(parts),
        "additionalProperties": False,
        "properties": parts,
    }


def _form_body(name: str, with_data: bool = False) -> dict[str, Any]:
    """A multipart request body with the named schema; its part ``data``, if any, is JSON."""
    media: dict[str, Any] = {"schema": {"$ref": COMPONENT.format(model=name)}}
    if with_data:
        media["encoding"] = {"data": {"contentType": JSON}}
    return {"required": True, "content": {"multipart/form-data": media}}
