"""The native protocol: its table of endpoints."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.classifier import BoundedClassifier
from api.endpoints import Endpoint
from api.keys.scopes import Access
from api.pictures import Pictures
from api.protocols.base import Protocol
from api.protocols.native import errors
from api.protocols.native.classify import ClassifyEndpoint
from api.protocols.native.model_list import model_list
from api.protocols.native.openapi import Documentation
from api.protocols.native.openapi_responses import (
    model_responses,
    picture_responses,
    prediction_responses,
    response_schemas,
)
from api.protocols.native.pictures import PictureEndpoints
from api.protocols.native.responses import JSON
from api.protocols.predictions.acceptance import Acceptance
from contract.errors import RequestError
from settings import Settings

_PICTURES = ("Pictures",)


class NativeProtocol(Protocol):
    """``/txt2img``, ``/img2img``, ``/inpaint``, ``/dreambooth`` and, which is the same,
    ``/imagine``, ``/classify`` and ``/models``.

    Args:
        pictures: validates and runs the requests.
        settings: the limits.
        classifier: classifies pictures; without it there is no ``/classify``.
        acceptance: accepts requests as predictions, of clients that prefer that; without it,
            nobody can.
    """

    name = "native"

    def __init__(
        self,
        pictures: Pictures,
        settings: Settings,
        classifier: BoundedClassifier | None = None,
        acceptance: Acceptance | None = None,
    ) -> None:
        self._pictures = pictures
        self._acceptance = acceptance
        self._settings = settings
        self._vit = None if classifier is None else classifier.vit
        documentation = Documentation(settings, pictures.served.models, self._vit)
        self.schemas = {**documentation.schemas(), **response_schemas()}
        endpoints = self._picture_endpoints(documentation)
        if classifier is not None:
            endpoints.append(self._classify_endpoint(classifier, documentation))
        endpoints.append(self._models_endpoint())
        self.endpoints = endpoints

    def error_response(self, error: RequestError) -> Response:
        return errors.response(error)

    def _picture_endpoints(self, documentation: Documentation) -> list[Endpoint]:
        handlers = PictureEndpoints(self._pictures, self._acceptance)
        as_predictions = self._acceptance is not None
        common: dict[str, Any] = {
            "tags": _PICTURES,
            "responses": picture_responses(as_predictions),
        }
        form = {**common, "max_body": self._settings.max_body_bytes}
        return [
            Endpoint(
                path="/txt2img",
                methods=("POST",),
                name="txt2img",
                handler=handlers.txt2img,
                summary="A picture from a text",
                request_body=documentation.txt2img_body(),
                max_body=self._settings.max_json_bytes,
                **common,
            ),
            Endpoint(
                path="/img2img",
                methods=("POST",),
                name="img2img",
                handler=handlers.img2img,
                summary="A picture from a text and a picture",
                request_body=documentation.img2img_body(),
                **form,
            ),
            Endpoint(
                path="/inpaint",
                methods=("POST",),
                name="inpaint",
                handler=handlers.inpaint,
                summary="A picture with a part inpainted, from a text",
                request_body=documentation.inpaint_body(),
                **form,
            ),
            Endpoint(
                path="/dreambooth",
                methods=("GET", "POST"),
                name="dreambooth",
                handler=handlers.dreambooth,
                summary="A picture by the fine-tuned model whose subject the prompt names",
                parameters=documentation.dreambooth_parameters(),
                **common,
            ),
            Endpoint(
                path="/imagine",
                methods=("GET",),
                name="imagine",
                handler=handlers.dreambooth,
                summary="The same, by the name that Ray Serve's examples have for it",
                parameters=documentation.dreambooth_parameters(),
                **common,
            ),
        ]

    def _classify_endpoint(
        self, classifier: BoundedClassifier, documentation: Documentation
    ) -> Endpoint:
        return Endpoint(
            path="/classify",
            methods=("POST",),
            name="classify",
            handler=ClassifyEndpoint(classifier, self._pictures.uploads).classify,
            tags=_PICTURES,
            summary="The likeliest labels of a picture",
            request_body=documentation.classify_body(),
            max_body=self._settings.max_body_bytes,
            parameters=documentation.classify_parameters(),
            responses=prediction_responses(),
        )

    def _models_endpoint(self) -> Endpoint:
        return Endpoint(
            path="/models",
            methods=("GET",),
            name="models",
            handler=self._list_models,
            tags=("Models",),
            summary="The served models, with defaults and limits",
            responses=model_responses(),
            access=Access.READ,
            linkable=True,
        )

    async def _list_models(self, request: Request) -> Response:
        await self._pictures.served.refresh()
        await self._pictures.served.learn()
        served = self._pictures.served.snapshot()
        body = model_list(served, self._vit, self._settings)
        return Response(body.as_json(), media_type=JSON)
