"""KServe's protocols: their table of endpoints."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.responses import Response

from api.classifier import BoundedClassifier
from api.endpoints import NO_BODY, Endpoint, Handler
from api.keys.scopes import Access
from api.pictures import Pictures
from api.protocols.base import Protocol
from api.protocols.kserve import errors
from api.protocols.kserve.inference import Inference
from api.protocols.kserve.models import Models
from api.protocols.kserve.openapi import Documentation
from api.protocols.kserve.repository import RepositoryEndpoints
from api.protocols.kserve.v1 import V1Endpoints
from api.protocols.kserve.v2 import V2Endpoints
from contract.errors import RequestError
from settings import Settings


class _Name(StringConvertor):
    """A model's name in a path, where a verb may follow it."""

    regex = "[^/:]+"


register_url_convertor("name", _Name())

# The models themselves are OpenAI's too (``api.protocols.openai``).
V1_MODEL: Final = "/v1/models/{model:name}"
_MODEL = "/v2/models/{model}"
_VERSION = _MODEL + "/versions/{version}"


class KServeProtocol(Protocol):
    """``/v1/models/{model}:predict`` and ``/v2``.

    Args:
        pictures: validates and runs the requests.
        settings: the limits.
        classifier: classifies pictures; without it there is no such model.
        ready: whether requests are served at all.
    """

    name = "kserve"

    def __init__(
        self,
        pictures: Pictures,
        settings: Settings,
        classifier: BoundedClassifier | None,
        ready: Callable[[], Awaitable[bool]],
    ) -> None:
        models = Models(pictures.served, classifier, ready)
        inference = Inference(pictures, classifier, settings)
        self._v1 = V1Endpoints(models, inference, pictures.uploads)
        self._v2 = V2Endpoints(models, inference, pictures.uploads)
        self._repository = RepositoryEndpoints(models, pictures.uploads, settings)
        self._max_body = settings.max_body_bytes
        self._documentation = Documentation(
            settings, pictures.served.models, None if classifier is None else classifier.vit
        )
        self.schemas = self._documentation.schemas()
        self.endpoints = [*self._of_v1(), *self._of_v2()]

    def error_response(self, error: RequestError) -> Response:
        return errors.response(error)

    def owns(self, path: str) -> bool:
        of_v1 = path.startswith("/v1/models/") and ":" in path
        return of_v1 or path == "/v2" or path.startswith("/v2/")

    def _of_v1(self) -> list[Endpoint]:
        v1 = self._v1
        return [
            self._post(
                f"{V1_MODEL}:predict",
                "v1_predict",
                v1.predict,
                "Pictures, or the labels of pictures: one prediction for each instance",
            ),
        ]

    def _of_v2(self) -> list[Endpoint]:
        v2 = self._v2
        endpoints = [
            self._get("/v2", "v2_server", v2.server, "The service"),
            self._get(
                "/v2/health/live",
                "v2_live",
                v2.live,
                "Whether it lives",
                access=Access.OPEN,
                while_draining=True,
            ),
            self._get(
                "/v2/health/ready",
                "v2_ready",
                v2.ready,
                "Whether it is ready",
                access=Access.OPEN,
            ),
            self._get("/v2/models", "v2_models", v2.names, "The models"),
            *self._of_repository(),
        ]
        for path, suffix in ((_MODEL, ""), (_VERSION, "_version")):
            endpoints += [
                self._get(path, f"v2_model{suffix}", v2.metadata, "A model's inputs and outputs"),
                self._get(
                    f"{path}/ready",
                    f"v2_model_ready{suffix}",
                    v2.model_ready,
                    "Whether a model is ready",
                ),
                self._get(
                    f"{path}/config",
                    f"v2_model_config{suffix}",
                    v2.configuration,
                    "A model's configuration, as Triton has it",
                ),
                self._post(
                    f"{path}/infer",
                    f"v2_infer{suffix}",
                    v2.infer,
                    "Pictures, or the labels of a picture",
                ),
            ]
        return endpoints

    def _of_repository(self) -> list[Endpoint]:
        repository = self._repository
        table = [
            ("index", "v2_index", repository.index, "The models of the repository", Access.READ),
            (
                "models/{model}/load",
                "v2_load",
                repository.load,
                "Bring a model into memory",
                Access.ADMIN,
            ),
            (
                "models/{model}/unload",
                "v2_unload",
                repository.unload,
                "Take one out of memory",
                Access.ADMIN,
            ),
        ]
        return [
            self._post(
                f"/v2/repository/{path}", name, handler, summary, access=access, max_body=NO_BODY
            )
            for path, name, handler, summary, access in table
        ]

    def _get(
        self,
        path: str,
        name: str,
        handler: Handler,
        summary: str,
        *,
        access: Access = Access.READ,
        while_draining: bool = False,
    ) -> Endpoint:
        return self._endpoint(
            path,
            name,
            handler,
            summary,
            methods=("GET",),
            access=access,
            linkable=True,
            while_draining=while_draining,
            # Probes are to say what they say, however they are called.
            any_parameters=access is Access.OPEN,
        )

    def _post(
        self,
        path: str,
        name: str,
        handler: Handler,
        summary: str,
        *,
        access: Access = Access.GENERATE,
        max_body: int | None = None,
    ) -> Endpoint:
        return self._endpoint(
            path,
            name,
            handler,
            summary,
            methods=("POST",),
            access=access,
            request_body=self._documentation.body(name),
            max_body=self._max_body if max_body is None else max_body,
        )

    def _endpoint(
        self, path: str, name: str, handler: Handler, summary: str, **others: Any
    ) -> Endpoint:
        return Endpoint(
            path=path,
            name=name,
            handler=handler,
            summary=summary,
            tags=("KServe",),
            parameters=self._documentation.parameters(path),
            responses=self._documentation.responses(name),
            **others,
        )
