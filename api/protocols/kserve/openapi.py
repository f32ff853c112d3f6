"""The OpenAPI documentation of KServe's protocols."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.backend import ServedModel
from api.protocols.kserve import responses
from api.protocols.kserve.errors import InferenceError
from api.protocols.kserve.inputs import ELSEWHERE
from api.protocols.kserve.models import CLASSIFIER
from api.protocols.kserve.requests import (
    InferenceRequest,
    LoadRequest,
    PredictRequest,
    RepositoryIndexRequest,
    UnloadRequest,
)
from api.protocols.native import openapi, openapi_responses
from api.protocols.native.openapi_responses import COMPONENT, reference
from api.protocols.native.responses import BINARY, JSON
from api.protocols.native.schemas import InpaintBody
from models.vit import ViT
from settings import Settings

_GENERATION, _CLASSIFICATION = "GenerationInstance", "ClassificationInstance"
_REQUESTS: Final[tuple[type[BaseModel], ...]] = (
    InferenceRequest,
    RepositoryIndexRequest,
    LoadRequest,
    UnloadRequest,
)
# The body of each response, by the operation's name without ``_version``.
_RESPONSES: Final[Mapping[str, type[BaseModel]]] = {
    "v1_predict": responses.PredictResponse,
    "v2_server": responses.ServerMetadata,
    "v2_live": responses.ServerLive,
    "v2_ready": responses.ServerReady,
    "v2_models": responses.ModelNames,
    "v2_index": responses.RepositoryModel,
    "v2_load": responses.ModelLoaded,
    "v2_unload": responses.ModelUnloaded,
    "v2_model": responses.ModelMetadata,
    "v2_model_ready": responses.ModelReady,
    "v2_model_config": responses.ModelConfiguration,
    "v2_infer": responses.InferenceResponse,
}
_BODIES: Final[Mapping[str, type[BaseModel]]] = {
    "v1_predict": PredictRequest,
    "v2_index": RepositoryIndexRequest,
    "v2_load": LoadRequest,
    "v2_unload": UnloadRequest,
    "v2_infer": InferenceRequest,
}
_LOOK: Final = (400, 403, 404, 500, 503)


class Documentation:
    """Describes the endpoints with the limits and defaults that are in force.

    Args:
        settings: the limits.
        models: the served models; the first is the default.
        vit: the image classifier, if there is one.
    """

    def __init__(self, settings: Settings, models: Sequence[ServedModel], vit: ViT | None) -> None:
        self._native = openapi.Documentation(settings, models, vit)
        self._names = [model.name for model in models] + [CLASSIFIER] * (vit is not None)

    def schemas(self) -> dict[str, Any]:
        """The named JSON Schemas of requests and responses."""
        instances = self._instances()
        return {
            **_common_schemas(),
            **instances,
            PredictRequest.__name__: _predict_request(list(instances)),
        }

    def body(self, operation: str) -> dict[str, Any]:
        """The request body of an operation."""
        body = _BODIES[_plain(operation)]
        required = body in (PredictRequest, InferenceRequest)
        return {"required": required, "content": {JSON: {"schema": reference(body)}}}

    def responses(self, operation: str) -> dict[int | str, dict[str, Any]]:
        """The responses of an operation."""
        plain = _plain(operation)
        schema: dict[str, Any] = reference(_RESPONSES[plain])
        if plain == "v2_index":
            schema = {"type": "array", "items": schema}
        content: dict[str, Any] = {JSON: {"schema": schema}}
        description = (_RESPONSES[plain].__doc__ or "").strip()
        if plain == "v2_infer":
            content[BINARY] = {"schema": {"type": "string", "format": "binary"}}
            description += (
                " Where outputs are binary data, they follow the JSON, whose length is in "
                "`Inference-Header-Content-Length`"
            )
        statuses = openapi_responses.WORK_STATUSES if plain in _BODIES else _LOOK
        return {
            200: {
                "description": description,
                "content": content,
                "headers": {"X-Request-Id": openapi_responses.REQUEST_ID},
            },
            **openapi_responses.error_responses(InferenceError, *statuses),
        }

    def parameters(self, path: str) -> list[dict[str, Any]]:
        """The parameters in a path."""
        known = {
            "model": ("One of the names that `GET /v1/models` lists", self._names[0]),
            "version": ("The model's version, as its metadata has it", "1"),
        }
        return [
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": known[name][0],
                "schema": {"type": "string"},
                "example": known[name][1],
            }
            for name in re.findall(r"{(\w+)(?::\w+)?}", path)
        ]

    def _instances(self) -> dict[str, Any]:
        native = self._native.body_schema(InpaintBody)
        picture = {
            "description": "PNG, JPEG or WebP in base64, or such an object",
            "anyOf": [
                {"type": "string", "contentEncoding": "base64"},
                {
                    "type": "object",
                    "required": ["b64"],
                    "additionalProperties": False,
                    "properties": {"b64": {"type": "string", "contentEncoding": "base64"}},
                },
                {"type": "null"},
            ],
        }
        fields = {
            name: schema for name, schema in native["properties"].items() if name not in ELSEWHERE
        }
        return {
            _GENERATION: {
                "title": _GENERATION,
                "type": "object",
                "description": "A picture from a text, and perhaps from a picture with a mask",
                "required": ["prompt"],
                "additionalProperties": False,
                "properties": {**fields, "init_image": picture, "mask": picture},
            },
            _CLASSIFICATION: {
                "title": _CLASSIFICATION,
                "type": "object",
                "description": "A picture for the classifier",
                "required": ["image"],
                "additionalProperties": False,
                "properties": {"image": picture, "top_k": {"type": ["integer", "null"]}},
            },
        }


@cache
def _common_schemas() -> dict[str, Any]:
    """The schemas that do not depend on what is served, but for those of the native protocol."""
    _, requests = models_json_schema(
        [(body, "validation") for body in _REQUESTS], ref_template=COMPONENT
    )
    bodies: list[type[BaseModel]] = [*_RESPONSES.values(), InferenceError]
    _, answers = models_json_schema(
        [(body, "serialization") for body in bodies], ref_template=COMPONENT
    )
    native = openapi_responses.response_schemas()
    schemas: dict[str, Any] = dict(requests["$defs"])
    schemas |= {name: one for name, one in answers["$defs"].items() if name not in native}
    schemas[InferenceRequest.__name__]["example"] = InferenceRequest.example
    return schemas


def _predict_request(instances: Sequence[str]) -> dict[str, Any]:
    """The schema of version 1's request body, with the schemas of its instances."""
    schema = PredictRequest.model_json_schema()
    schema["example"] = PredictRequest.example
    schema["properties"]["instances"]["items"] = {
        "anyOf": [{"$ref": COMPONENT.format(model=name)} for name in instances]
    }
    return schema


def _plain(operation: str) -> str:
    return operation.removesuffix("_version")
