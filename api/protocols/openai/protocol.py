"""OpenAI's protocol: its table of endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response

from api.classifier import BoundedClassifier
from api.endpoints import Endpoint
from api.keys.scopes import Access
from api.pictures import Pictures
from api.protocols.base import Protocol
from api.protocols.kserve.models import Models
from api.protocols.kserve.protocol import V1_MODEL
from api.protocols.openai import errors
from api.protocols.openai.images import EDIT, GENERATION, ImageEndpoints
from api.protocols.openai.models import ModelEndpoints, OpenAIModel, OpenAIModelList
from api.protocols.openai.openapi import Documentation
from api.protocols.predictions.acceptance import Acceptance
from contract.errors import RequestError
from settings import Settings


class OpenAIProtocol(Protocol):
    """``/v1/images``, and ``/v1/models`` for KServe's clients as well.

    Args:
        pictures: validates and runs the requests.
        settings: the limits.
        classifier: one of the models of KServe's clients; None where there is none.
        ready: whether requests are served at all.
        acceptance: keeps pictures that links lead to; None where nothing is kept.
    """

    name = "openai"

    def __init__(
        self,
        pictures: Pictures,
        settings: Settings,
        classifier: BoundedClassifier | None,
        ready: Callable[[], Awaitable[bool]],
        acceptance: Acceptance | None = None,
    ) -> None:
        self._settings = settings
        documentation = Documentation(
            settings, pictures.served.models, with_links=acceptance is not None
        )
        models = ModelEndpoints(Models(pictures.served, classifier, ready), pictures.served)
        self.schemas = documentation.schemas()
        self.endpoints = [
            *self._of_images(ImageEndpoints(pictures, acceptance), documentation),
            *_of_models(models, documentation),
        ]

    def error_response(self, error: RequestError) -> Response:
        return errors.response(error)

    def owns(self, path: str) -> bool:
        return path == "/v1" or path.startswith("/v1/")

    def _of_images(self, images: ImageEndpoints, documentation: Documentation) -> list[Endpoint]:
        common: dict[str, Any] = {
            "methods": ("POST",),
            "tags": ("OpenAI",),
            "parameters": documentation.picture_parameters(),
            "any_parameters": True,
        }
        return [
            Endpoint(
                path="/v1/images/generations",
                name="images_generations",
                handler=images.generations,
                summary="Pictures from a text",
                request_body=documentation.generations_body(),
                responses=documentation.picture_responses(GENERATION),
                max_body=self._settings.max_json_bytes,
                **common,
            ),
            Endpoint(
                path="/v1/images/edits",
                name="images_edits",
                handler=images.edits,
                summary="Pictures from a text and a picture, or of a part of it",
                request_body=documentation.edits_body(),
                responses=documentation.picture_responses(EDIT),
                max_body=self._settings.max_body_bytes,
                **common,
            ),
            Endpoint(
                path="/v1/images/variations",
                name="images_variations",
                handler=images.variations,
                summary="Pictures from a picture",
                request_body=documentation.variations_body(),
                responses=documentation.picture_responses(None),
                max_body=self._settings.max_body_bytes,
                **common,
            ),
        ]


def _of_models(models: ModelEndpoints, documentation: Documentation) -> list[Endpoint]:
    common: dict[str, Any] = {
        "methods": ("GET",),
        "tags": ("OpenAI", "KServe"),
        "access": Access.READ,
        "linkable": True,
        "any_parameters": True,
    }
    return [
        Endpoint(
            path="/v1/models",
            name="v1_models",
            handler=models.models,
            summary="The models",
            responses=documentation.model_responses(OpenAIModelList),
            **common,
        ),
        Endpoint(
            path=V1_MODEL,
            name="v1_model",
            handler=models.model,
            summary="Whether a model is ready",
            parameters=documentation.model_parameters(),
            responses=documentation.model_responses(OpenAIModel),
            **common,
        ),
    ]
