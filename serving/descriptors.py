"""BentoML IO descriptors that leave the HTTP to ``api``.

BentoML turns whatever an input descriptor raises into a bare string, and never an error body of
ours. So the input descriptor passes the request on unread, the endpoint's handler in ``api``
responds, to errors too, and the output descriptor passes that response on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from bentoml._internal.io_descriptors.base import IODescriptor
from bentoml._internal.service.openapi.specification import Schema
from starlette.requests import Request
from starlette.responses import Response

from api.endpoints import Endpoint


class _HttpOnly:
    """What a descriptor owes to BentoML's other protocols: a clear refusal."""

    def _from_sample(self, sample: Any) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} takes no samples")

    async def from_proto(self, field: Any) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} speaks HTTP only")

    async def to_proto(self, obj: Any) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} speaks HTTP only")

    def openapi_components(self) -> dict[str, Any]:
        return {}

    def openapi_example(self) -> None:
        return None


class RequestBody(_HttpOnly, IODescriptor[Request]):
    """An input that is the whole request, unread.

    Args:
        openapi: the OpenAPI request body object that documents it.
        schemas: the named JSON Schemas that it refers to.
    """

    def __init__(self, openapi: dict[str, Any], schemas: dict[str, Any]) -> None:
        # BentoML's own documents have room for one.
        self._mime_type = next(iter(openapi["content"]))
        self._openapi = openapi
        self._schemas = schemas

    def input_type(self) -> type[Request]:
        return Request

    def openapi_schema(self) -> Schema:
        return Schema(type="object")

    def openapi_components(self) -> dict[str, Any]:
        return {"schemas": self._schemas}

    def openapi_request_body(self) -> dict[str, Any]:
        return self._openapi

    def openapi_responses(self) -> NoReturn:
        raise NotImplementedError("an input has no responses")

    async def from_http_request(self, request: Request) -> Request:
        return request

    async def to_http_response(self, obj: Request, ctx: Any = None) -> NoReturn:
        raise NotImplementedError("an input has no responses")


class RequestQuery(RequestBody):
    """An input that is the whole request, with its parameters in the URL and without a body."""

    def __init__(self) -> None:
        super().__init__({"required": False, "content": {"application/octet-stream": {}}}, {})


class ReadyResponse(_HttpOnly, IODescriptor[Response]):
    """An output that is a response already, be it whole or a stream.

    Args:
        openapi: the OpenAPI response object that documents it.
    """

    _mime_type = "image/png"

    def __init__(self, openapi: dict[str, Any]) -> None:
        self._openapi = openapi

    def input_type(self) -> type[Response]:
        return Response

    def openapi_schema(self) -> Schema:
        return Schema(type="string", format="binary")

    def openapi_request_body(self) -> NoReturn:
        raise NotImplementedError("an output has no request body")

    def openapi_responses(self) -> dict[str, Any]:
        return self._openapi

    async def from_http_request(self, request: Request) -> NoReturn:
        raise NotImplementedError("an output reads no requests")

    async def to_http_response(self, obj: Response, ctx: Any = None) -> Response:
        return obj


def input_of(endpoint: Endpoint, schemas: Mapping[str, Any]) -> RequestBody:
    """The descriptor of what an endpoint takes, with the schemas that its documentation names."""
    if endpoint.request_body is None:
        return RequestQuery()
    return RequestBody(endpoint.request_body, dict(schemas))


def output_of(endpoint: Endpoint) -> ReadyResponse:
    """The descriptor of what an endpoint responds with."""
    return ReadyResponse(endpoint.responses[200])
