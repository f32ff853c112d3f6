"""The protocol: what a host and the middlewares know of it, and the registry of those served."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Scope

from api.endpoints import Endpoint
from api.error_boundary import guarded
from contract.errors import RequestError


class Protocol(ABC):
    """Endpoints that parse requests in their own way, with an error body of their own.

    Attributes:
        name: names it in documents and log lines.
        endpoints: their handlers raise ``RequestError``.
        schemas: the named JSON Schemas that the endpoints' documentation refers to.
    """

    name: str
    endpoints: Sequence[Endpoint]
    schemas: Mapping[str, Any]

    @abstractmethod
    def error_response(self, error: RequestError) -> Response:
        """Render an error, with the status of ``api.errors.STATUS`` and the protocol's body.

        Of an INTERNAL error nothing but the request id may be shown.
        """

    def owns(self, path: str) -> bool:
        """Whether errors of this path are to be rendered by this protocol.

        That is any path of its endpoints; a protocol with a prefix of its own has all below it.
        """
        return any(compile_path(one.path)[0].match(path) for one in self.endpoints)


class Protocols:
    """The served protocols.

    Args:
        protocols: the first one renders errors of the paths that none of them owns.
    """

    def __init__(self, protocols: Sequence[Protocol]) -> None:
        self._default = protocols[0]
        self._protocols = tuple(protocols)

    @property
    def endpoints(self) -> list[Endpoint]:
        """All endpoints, for a host to register: their handlers respond to errors as well."""
        return [
            replace(endpoint, handler=guarded(endpoint, protocol.error_response))
            for protocol in self._protocols
            for endpoint in protocol.endpoints
        ]

    @property
    def schemas(self) -> dict[str, Any]:
        """The named JSON Schemas of all of them."""
        return {
            name: schema
            for protocol in self._protocols
            for name, schema in protocol.schemas.items()
        }

    def of(self, scope: Scope) -> Protocol:
        """The protocol that owns a request's path."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return next((one for one in self._protocols if one.owns(path)), self._default)
