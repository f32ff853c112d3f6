"""The HTTP application, for any host: mounted into BentoML, or on its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from api import errors, page
from api.body_limits import BodyLimits
from api.browser_headers import BrowserHeaders
from api.cross_site import CrossSiteGate
from api.drain import Drain, DrainGate
from api.error_boundary import error_response
from api.hosts import HostGate
from api.keys import openapi as key_documentation
from api.keys.gate import KeyGate
from api.keys.metering import Metering
from api.keys.ring import Keyring
from api.middleware import RequestIdentity
from api.protocols.base import Protocols
from api.version import VERSION
from contract.errors import ErrorCode, RequestError
from settings import Settings

# What Swagger UI begins with: it is for those who write programs.
_PAGE_FOR_PEOPLE: Final = (
    "A page to make, refine and keep pictures with is a program beside this service, which speaks "
    "this API: `make ui URL=` and this service's address, or a container (docs/ui.md)."
)


class Application(FastAPI):
    """FastAPI with schemas that no endpoint declares, as the protocols parse requests themselves.

    Attributes:
        schemas: named JSON Schemas for the components of the OpenAPI document.
        security_schemes: likewise, the ways to authenticate.
    """

    schemas: Mapping[str, Any]
    security_schemes: Mapping[str, Any]

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(self.schemas)
        if self.security_schemes:
            components["securitySchemes"] = dict(self.security_schemes)
        return document


def create_app(
    protocols: Protocols, swagger_assets: str | None = None, *, with_keys: bool = False
) -> FastAPI:
    """Build the application. Its host installs ``middleware()`` around it.

    Args:
        protocols: their endpoints are the application's routes.
        swagger_assets: URL prefix of swagger-ui's files; without it there is no page at ``/``.
        with_keys: whether clients need a key, which the OpenAPI document says then.
    """

    async def routing_error(request: Request, error: HTTPException) -> Response:
        """Starlette's own refusals, of unknown paths and methods."""
        code = errors.CODES.get(error.status_code, ErrorCode.INVALID_REQUEST)
        refusal = RequestError(code, f"{request.method} {request.url.path}: {error.detail}")
        response = error_response(refusal, partial(protocols.error_response, request.scope))
        response.headers.update(error.headers or {})
        if code is ErrorCode.METHOD_NOT_ALLOWED:
            # Each method is a route of its own, and Starlette lists those of one.
            response.headers["Allow"] = ", ".join(sorted(_methods(app.routes, request.scope)))
        return response

    app = Application(
        title="Stable Diffusion",
        summary="Pictures from text, from text and a picture, and by inpainting",
        description=_PAGE_FOR_PEOPLE,
        version=VERSION,
        servers=[{"url": "."}],
        openapi_url="/docs.json",
        docs_url=None,
        redoc_url=None,
        exception_handlers={HTTPException: routing_error},
        # They lead to wherever the Host header says.
        redirect_slashes=False,
    )
    app.schemas = protocols.schemas
    app.security_schemes = key_documentation.SCHEMES if with_keys else {}
    for endpoint in protocols.endpoints:
        documentation: dict[str, Any] = {}
        if endpoint.parameters:
            documentation["parameters"] = list(endpoint.parameters)
        if endpoint.request_body is not None:
            documentation["requestBody"] = endpoint.request_body
        responses = dict(endpoint.responses)
        if with_keys:
            documentation["security"] = key_documentation.security(endpoint)
            responses = key_documentation.responses(endpoint)
        for method in endpoint.methods:
            app.add_api_route(
                endpoint.path,
                endpoint.handler,
                methods=[method],
                operation_id=endpoint.operation_id(method),
                tags=list(endpoint.tags),
                summary=endpoint.summary,
                description=endpoint.description,
                responses=responses,
                response_class=Response,
                response_model=None,
                openapi_extra=documentation,
            )

    if swagger_assets is not None:
        html = page.swagger(app.title, swagger_assets)
        policy = {"Content-Security-Policy": page.CONTENT_SECURITY_POLICY}

        @app.get("/", include_in_schema=False)
        async def index() -> HTMLResponse:
            return HTMLResponse(html, headers=policy)

    return app


def middleware(
    settings: Settings,
    drain: Drain,
    protocols: Protocols,
    keys: Keyring | None = None,
    metering: Metering | None = None,
) -> list[Middleware]:
    """The layers that every path of a host goes through, outermost first.

    Args:
        settings: the limits, and the hosts and origins that are allowed.
        drain: refuses new requests once it has started.
        protocols: render the errors, each those of its own paths.
        keys: those that clients need; None where they need none.
        metering: keeps account of them.
    """
    origins = settings.allowed_origins
    gate = []
    if keys is not None:
        gate.append(
            Middleware(
                KeyGate,
                keys=keys,
                metering=metering or Metering(),
                protocols=protocols,
                settings=settings,
            )
        )
    return [
        # Around the identity, for the errors that it renders.
        Middleware(BrowserHeaders, origins=origins),
        Middleware(RequestIdentity, protocols=protocols),
        Middleware(HostGate, allowed=settings.allowed_hosts),
        Middleware(CrossSiteGate, origins=origins, protocols=protocols),
        *gate,
        Middleware(DrainGate, drain=drain, protocols=protocols),
        Middleware(BodyLimits, settings=settings, protocols=protocols),
    ]


def _methods(routes: Iterable[BaseRoute], scope: Scope) -> set[str]:
    """The methods that there are on a path."""
    matching = (route for route in routes if route.matches(scope)[0] is not Match.NONE)
    return {
        method for route in matching if isinstance(route, Route) for method in route.methods or ()
    }
