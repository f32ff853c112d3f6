"""The protocol of predictions: its table of endpoints."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.endpoints import Endpoint, Handler
from api.pictures import Pictures
from api.protocols.base import Protocol
from api.protocols.native.openapi import Documentation
from api.protocols.native.schemas import Txt2ImgBody
from api.protocols.predictions import errors, openapi, responses
from api.protocols.predictions.acceptance import Acceptance
from api.protocols.predictions.endpoints import PredictionEndpoints
from api.protocols.predictions.outputs import OutputEndpoint
from api.protocols.predictions.replicate import ReplicateModels
from api.protocols.predictions.requests import PredictionRequests
from contract.errors import RequestError
from settings import Settings

_LOOK: Final = (400, 403, 404, 500, 503)
_ORDER: Final = (400, 403, 404, 408, 409, 413, 415, 422, 429, 500, 503, 504, 507)
_CHANGE: Final = (400, 403, 404, 408, 413, 500, 503)
_PREFIXES: Final = ("/predictions", "/v1/predictions", "/webhooks", "/v1/webhooks")
_DONE: Final = {200: "The prediction"}
_ACCEPTED: Final = {
    200: "The prediction, which was accepted before",
    201: "The new prediction; with `Prefer: wait`, as it is then",
    202: "The same, with `Prefer: respond-async`",
}


class PredictionsProtocol(Protocol):
    """``/predictions``, and what Replicate's clients ask for below ``/v1``.

    Args:
        pictures: validates the requests.
        acceptance: accepts them.
        settings: the limits.
    """

    name = "predictions"

    def __init__(self, pictures: Pictures, acceptance: Acceptance, settings: Settings) -> None:
        self._requests = PredictionRequests(pictures, acceptance, settings)
        self._handlers = PredictionEndpoints(acceptance, pictures.uploads)
        self._output = OutputEndpoint(acceptance)
        native = Documentation(settings, pictures.served.models)
        self._models = ReplicateModels(pictures.served, native.body_schema(Txt2ImgBody), acceptance)
        self._max_body = settings.max_body_bytes
        self.schemas = openapi.schemas()
        self.endpoints = [
            *self._of_predictions("", ""),
            *self._of_predictions("/v1", "v1_"),
            *self._of_one(),
            *self._of_webhooks(),
            *self._of_models(),
        ]

    def error_response(self, error: RequestError) -> Response:
        return errors.response(error)

    def owns(self, path: str) -> bool:
        return any(path == one or path.startswith(f"{one}/") for one in _PREFIXES) or super().owns(
            path
        )

    async def _create(self, request: Request) -> Response:
        return await self._requests.accept(request)

    async def _put(self, request: Request) -> Response:
        return await self._requests.accept(request, identifier=request.path_params["id"])

    async def _create_of_model(self, request: Request) -> Response:
        return await self._requests.accept(request, model=request.path_params["name"])

    def _of_predictions(self, prefix: str, named: str) -> list[Endpoint]:
        """What both prefixes have."""
        handlers, path = self._handlers, f"{prefix}/predictions"
        state = responses.PredictionState
        return [
            self._order(path, f"{named}create_prediction", "POST", self._create),
            self._endpoint(
                path,
                f"{named}list_predictions",
                "GET",
                handlers.page,
                "The predictions of the client, the latest first",
                openapi.json_responses(
                    responses.PredictionPage, {200: "A page of them"}, *_LOOK, 422
                ),
                openapi.list_parameters(),
            ),
            self._endpoint(
                f"{path}/{{id}}",
                f"{named}get_prediction",
                "GET",
                handlers.get,
                "A prediction",
                openapi.json_responses(state, _DONE, *_LOOK),
                [openapi.PREFER],
            ),
            self._endpoint(
                f"{path}/{{id}}/cancel",
                f"{named}cancel_prediction",
                "POST",
                handlers.cancel,
                "End a prediction, unless it is over",
                openapi.json_responses(state, _DONE, *_CHANGE),
            ),
        ]

    def _of_one(self) -> list[Endpoint]:
        """What only our own prefix has."""
        one = "/predictions/{id}"
        return [
            self._order(one, "put_prediction", "PUT", self._put),
            self._endpoint(
                one,
                "delete_prediction",
                "DELETE",
                self._handlers.delete,
                "Delete a prediction that is over, and its pictures",
                openapi.empty_responses(*_CHANGE, 409),
            ),
            self._endpoint(
                f"{one}/events",
                "prediction_events",
                "GET",
                self._handlers.events,
                "What happens to a prediction",
                openapi.events_responses(*_LOOK),
                openapi.events_parameters(),
            ),
            self._endpoint(
                f"{one}/output/{{index}}",
                "prediction_output",
                "GET",
                self._output.get,
                "A picture of a prediction",
                openapi.output_responses(*_LOOK, 410),
                openapi.output_parameters(),
                signed=True,
                linkable=True,
            ),
        ]

    def _of_webhooks(self) -> list[Endpoint]:
        handlers = self._handlers
        secrets = [
            self._endpoint(
                f"{prefix}/webhooks/default/secret",
                f"{named}webhook_secret",
                "GET",
                handlers.signing_secret,
                "What verifies the webhooks that this client gets",
                openapi.json_responses(responses.SigningSecret, {200: "The secret"}, *_LOOK),
            )
            for prefix, named in (("", ""), ("/v1", "v1_"))
        ]
        return [
            *secrets,
            self._endpoint(
                "/webhooks/deliveries",
                "webhook_deliveries",
                "GET",
                handlers.deliveries,
                "What became of the last webhooks of predictions",
                openapi.json_responses(
                    responses.WebhookDeliveries, {200: "The deliveries"}, *_LOOK
                ),
                openapi.delivery_parameters(),
            ),
            self._endpoint(
                "/webhooks/deliveries/{id}/resend",
                "resend_webhook",
                "POST",
                handlers.resend,
                "Send one again that has arrived, or is dead",
                openapi.json_responses(responses.WebhookDelivery, {202: "It is sent"}, *_CHANGE),
            ),
        ]

    def _of_models(self) -> list[Endpoint]:
        model = "/v1/models/{owner}/{name}"
        return [
            self._order(
                f"{model}/predictions", "v1_create_model_prediction", "POST", self._create_of_model
            ),
            self._endpoint(
                model,
                "v1_get_model",
                "GET",
                self._models.model,
                "A model",
                openapi.json_responses(responses.ReplicateModel, {200: "The model"}, *_LOOK),
            ),
            self._endpoint(
                f"{model}/versions/{{version}}",
                "v1_get_version",
                "GET",
                self._models.version,
                "The version of a model",
                openapi.json_responses(responses.ReplicateVersion, {200: "It"}, *_LOOK),
            ),
        ]

    def _order(self, path: str, name: str, method: str, handler: Handler) -> Endpoint:
        return self._endpoint(
            path,
            name,
            method,
            handler,
            "Have pictures made, whatever dies in between",
            openapi.json_responses(responses.PredictionState, _ACCEPTED, *_ORDER),
            [openapi.PREFER, openapi.IDEMPOTENCY_KEY],
            request_body=openapi.body(),
            max_body=self._max_body,
        )

    def _endpoint(
        self,
        path: str,
        name: str,
        method: str,
        handler: Handler,
        summary: str,
        documented: dict[int | str, dict[str, Any]],
        parameters: list[dict[str, Any]] | None = None,
        **others: Any,
    ) -> Endpoint:
        return Endpoint(
            path=path,
            name=name,
            methods=(method,),
            handler=handler,
            tags=("Predictions",),
            summary=summary,
            parameters=[*openapi.path_parameters(path), *(parameters or [])],
            responses=documented,
            **others,
        )
