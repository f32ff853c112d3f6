"""The OpenAPI documentation of the web UI's API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.backend import ServedModel
from api.limits import constraints
from api.protocols.a1111 import responses
from api.protocols.a1111.errors import WebUIError
from api.protocols.a1111.schemas import (
    Generation,
    InterrogateRequest,
    PNGInfoRequest,
    WebUIBody,
    WebUIImg2Img,
    WebUIOptions,
    WebUITxt2Img,
)
from api.protocols.native import openapi_responses
from api.protocols.native.openapi_responses import COMPONENT, reference
from api.protocols.native.responses import JSON
from settings import Settings

_BODIES: Final[Mapping[str, type[WebUIBody]]] = {
    "sdapi_txt2img": WebUITxt2Img,
    "sdapi_img2img": WebUIImg2Img,
    "sdapi_set_options": WebUIOptions,
    "sdapi_png_info": PNGInfoRequest,
    "sdapi_interrogate": InterrogateRequest,
}
# The body of each response by the operation's name; of others, an empty object.
_RESPONSES: Final[Mapping[str, type[BaseModel]]] = {
    "sdapi_txt2img": responses.GenerationResponse,
    "sdapi_img2img": responses.GenerationResponse,
    "sdapi_options": responses.CurrentOptions,
    "sdapi_set_options": responses.ChangedOptions,
    "sdapi_progress": responses.WebUIProgress,
    "sdapi_png_info": responses.PNGInfo,
    "sdapi_interrogate": responses.Caption,
    "sdapi_embeddings": responses.Embeddings,
    "sdapi_scripts": responses.Scripts,
    "sdapi_cmd_flags": responses.Flags,
    "sdapi_memory": responses.Memory,
}
# Those that are arrays, by the type of their elements; of others, of nothing.
_LISTS: Final[Mapping[str, type[BaseModel]]] = {
    "sdapi_sd_models": responses.WebUIModel,
    "sdapi_loras": responses.WebUILora,
    "sdapi_samplers": responses.WebUISampler,
    "sdapi_schedulers": responses.WebUISchedule,
    "sdapi_upscalers": responses.WebUIUpscaler,
}
# Parameters that have another name here.
_NEUTRAL: Final[Mapping[str, str]] = {
    "steps": "num_inference_steps",
    "cfg_scale": "guidance_scale",
}
_LIMITED: Final = ("prompt", "negative_prompt", "width", "height", "seed", *_NEUTRAL)
_LOOK: Final = (403, 500, 503)

SKIP_IMAGE: Final[dict[str, Any]] = {
    "name": "skip_current_image",
    "in": "query",
    "required": False,
    "description": "Whether `current_image` is left out",
    "schema": {"type": "boolean", "default": False},
    "example": True,
}


class Documentation:
    """Describes the endpoints with the limits that are in force.

    Args:
        settings: the limits.
        models: the served models; the first is the default.
    """

    def __init__(self, settings: Settings, models: Sequence[ServedModel]) -> None:
        self._limits = constraints(settings)
        self._names = [model.name for model in models]

    def schemas(self) -> dict[str, Any]:
        """The named JSON Schemas of requests and responses."""
        answers: list[type[BaseModel]] = [*_RESPONSES.values(), *_LISTS.values()]
        answers += [responses.NamedThing, WebUIError]
        _, written = models_json_schema(
            [(model, "serialization") for model in answers], ref_template=COMPONENT
        )
        native = openapi_responses.response_schemas()
        schemas = {name: one for name, one in written["$defs"].items() if name not in native}
        return {**schemas, **{body.__name__: self._body(body) for body in _BODIES.values()}}

    def request_body(self, operation: str) -> dict[str, Any] | None:
        """The request body of an operation, if it has one."""
        body = _BODIES.get(operation)
        if body is None:
            return None
        return {"required": True, "content": {JSON: {"schema": reference(body)}}}

    def responses(
        self, operation: str, *, works: bool = False, lists: bool = False
    ) -> dict[int | str, dict[str, Any]]:
        """The responses of an operation.

        Args:
            operation: its name.
            works: whether it takes bodies.
            lists: whether what it answers is an array.
        """
        schema: dict[str, Any] = {"type": "object"}
        description = "It is done"
        if lists:
            element = _LISTS.get(operation, responses.NamedThing)
            schema = {"type": "array", "items": reference(element)}
            description = "What there is"
        elif operation in _RESPONSES:
            schema = reference(_RESPONSES[operation])
            description = (_RESPONSES[operation].__doc__ or "").strip()
        statuses = openapi_responses.WORK_STATUSES if works else _LOOK
        if operation == "sdapi_progress":
            statuses = (400, *statuses)
        return {
            200: {
                "description": description,
                "content": {JSON: {"schema": schema}},
                "headers": {"X-Request-Id": openapi_responses.REQUEST_ID},
            },
            **openapi_responses.error_responses(WebUIError, *statuses),
        }

    def _body(self, body: type[WebUIBody]) -> dict[str, Any]:
        schema = body.model_json_schema(ref_template=COMPONENT)
        schema["example"] = dict(getattr(body, "example", {}))
        properties = schema["properties"]
        for value in properties.values():
            if value.get("default", ...) is None:
                del value["default"]
        if "sd_model_checkpoint" in properties:
            properties["sd_model_checkpoint"]["examples"] = self._names[:1]
        if issubclass(body, Generation):
            for name in _LIMITED:
                constraint = self._limits[_NEUTRAL.get(name, name)]
                properties[name]["anyOf"][0].update(constraint.schema)
        return schema
