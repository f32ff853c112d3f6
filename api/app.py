"""The HTTP application, for any host: mounted into BentoML, or on its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse

from api import errors, page
from api.backend import Backend
from api.classification import Classification
from api.drain import Drain, DrainGate
from api.middleware import BodyLimit, RequestIdentity
from api.native import Native
from api.openapi import Documentation, error_responses, picture_responses, prediction_responses
from api.schemas import ClassifierInfo, FineTuning, ModelInfo, ModelLimits, ModelList
from api.served_models import ModelChoice, ServedModels
from api.version import VERSION
from contract.errors import ErrorCode, RequestError
from contract.request import OutputFormat
from models.architectures import SCHEDULERS
from models.vit import ViT
from settings import Settings

_CODES = {status: code for code, status in reversed(errors.STATUS.items())}


class Application(FastAPI):
    """FastAPI with schemas that no endpoint declares, as the façades read requests themselves."""

    schemas: Mapping[str, Any]

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document["components"]["schemas"].update(self.schemas)
        return document


def create_app(
    backend: Backend,
    settings: Settings,
    native: Native,
    classification: Classification | None = None,
    swagger_assets: str | None = None,
) -> FastAPI:
    """Build the application. Its host installs ``middleware()`` around it.

    Args:
        backend: where the pictures are made.
        settings: the limits.
        native: the façade that answers the endpoints that make pictures.
        classification: the façade of the classifier, if there is one.
        swagger_assets: URL prefix of swagger-ui's files; without it there is no page at ``/``.
    """
    app = Application(
        title="Stable Diffusion",
        summary="Pictures from text, from text and a picture, and painted anew in part",
        version=VERSION,
        servers=[{"url": "."}],
        openapi_url="/docs.json",
        docs_url=None,
        redoc_url=None,
        exception_handlers={HTTPException: _http_error},
    )
    vit = None if classification is None else classification.vit
    documentation = Documentation(settings, backend.models, vit)
    app.schemas = documentation.schemas()
    served = ServedModels(backend, settings)

    @app.post(
        "/txt2img",
        operation_id="txt2img",
        tags=["Pictures"],
        summary="A picture from a text",
        responses=picture_responses(),
        response_class=Response,
        openapi_extra={"requestBody": documentation.txt2img_body()},
    )
    async def txt2img(request: Request) -> Response:
        return await native.txt2img(request)

    @app.post(
        "/img2img",
        operation_id="img2img",
        tags=["Pictures"],
        summary="A picture from a text and a picture",
        responses=picture_responses(),
        response_class=Response,
        openapi_extra={"requestBody": documentation.img2img_body()},
    )
    async def img2img(request: Request) -> Response:
        return await native.img2img(request)

    @app.post(
        "/inpaint",
        operation_id="inpaint",
        tags=["Pictures"],
        summary="A picture with a part painted anew, from a text",
        responses=picture_responses(),
        response_class=Response,
        openapi_extra={"requestBody": documentation.inpaint_body()},
    )
    async def inpaint(request: Request) -> Response:
        return await native.inpaint(request)

    dreambooth_documentation: dict[str, Any] = {
        "tags": ["Pictures"],
        "summary": "A picture by the fine-tuned model whose subject the prompt names",
        "responses": picture_responses(),
        "response_class": Response,
        "openapi_extra": {"parameters": documentation.dreambooth_parameters()},
    }

    @app.get("/dreambooth", operation_id="dreambooth_get", **dreambooth_documentation)
    @app.post("/dreambooth", operation_id="dreambooth", **dreambooth_documentation)
    async def dreambooth(request: Request) -> Response:
        return await native.dreambooth(request)

    if classification is not None:

        @app.post(
            "/classify",
            operation_id="classify",
            tags=["Pictures"],
            summary="What a picture shows",
            responses=prediction_responses(),
            response_class=Response,
            openapi_extra={
                "requestBody": documentation.classify_body(),
                "parameters": documentation.classify_parameters(),
            },
        )
        async def classify(request: Request) -> Response:
            return await classification.classify(request)

    @app.get(
        "/models",
        operation_id="models",
        tags=["Models"],
        summary="What is being served, with defaults and limits",
        responses=error_responses(503),
    )
    async def list_models() -> ModelList:
        return _model_list(served, vit, settings)

    if swagger_assets is not None:
        html = page.swagger(app.title, swagger_assets)

        @app.get("/", include_in_schema=False)
        async def index() -> HTMLResponse:
            return HTMLResponse(html)

    return app


def middleware(settings: Settings, drain: Drain) -> list[Middleware]:
    """What every path of a host goes through, outermost first."""
    return [
        Middleware(RequestIdentity),
        Middleware(DrainGate, drain=drain),
        Middleware(BodyLimit, max_bytes=settings.max_body_bytes),
    ]


async def _http_error(request: Request, error: HTTPException) -> Response:
    """Render what Starlette itself refuses: unknown paths and methods."""
    code = _CODES.get(error.status_code, ErrorCode.INVALID_REQUEST)
    message = f"{request.method} {request.url.path}: {error.detail}"
    response = errors.response(RequestError(code, message))
    response.headers.update(error.headers or {})
    return response


def _model_list(served: ServedModels, vit: ViT | None, settings: Settings) -> ModelList:
    limits = ModelLimits(
        min_side=settings.min_side,
        max_side=settings.max_side,
        max_pixels=settings.max_pixels,
        max_steps=settings.max_steps,
        max_images=settings.max_images,
        max_loras=settings.max_loras,
        max_prompt_chars=settings.max_prompt_chars,
        max_body_bytes=settings.max_body_bytes,
        max_input_pixels=settings.max_input_pixels,
    )
    return ModelList(
        version=VERSION,
        models=[_model_info(served, choice) for choice in served.choices()],
        classifier=None
        if vit is None
        else ClassifierInfo(
            name=vit.name, labels=len(vit.labels), width=vit.width, height=vit.height
        ),
        limits=limits,
        schedulers=list(SCHEDULERS),
        output_formats=[file_format.value for file_format in OutputFormat],
    )


def _model_info(served: ServedModels, choice: ModelChoice) -> ModelInfo:
    model, provenance = choice.model, choice.provenance
    return ModelInfo(
        name=choice.name,
        kind=choice.kind,
        default=choice.lora is None and model.name == served.models[0].name,
        family=model.family,
        precision=model.precision,
        description=model.description if provenance is None else provenance.description,
        licence=model.licence if provenance is None else provenance.licence,
        tasks=list(model.tasks),
        multiple_of=model.multiple_of,
        defaults=model.defaults,
        screening=dict(model.screening),
        fine_tuning=None
        if provenance is None
        else FineTuning.model_validate(
            {**provenance.model_dump(exclude={"description", "licence"}), "size": choice.size}
        ),
    )
