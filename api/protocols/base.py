"""The protocol: what a host and the middlewares know of it, and the registry of those served."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import ChainMap, Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Scope

from api.endpoints import Endpoint
from api.error_boundary import guarded
from api.keys.scopes import Access
from contract.errors import ErrorCode, RequestError

# The parameter of a URL that may stand for a key.
SIGNATURE: Final = "signature"


class Protocol(ABC):
    """Endpoints that parse requests in their own way, with an error body of their own.

    Attributes:
        name: names it in documents and log lines.
        endpoints: their handlers raise ``RequestError``.
        schemas: the named JSON Schemas that the endpoints' documentation refers to.
        challenge: how its clients are told to authenticate (RFC 9110, section 11.6.1).
    """

    name: str
    endpoints: Sequence[Endpoint]
    schemas: Mapping[str, Any]
    challenge: str = 'Bearer realm="stable-diffusion"'

    @abstractmethod
    def error_response(self, error: RequestError) -> Response:
        """Render an error with the protocol's body.

        Its status is that of ``api.errors.STATUS``, unless the protocol has another one for it.
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

    Raises:
        ValueError: two of them have the same endpoint, operation or schema name.
    """

    def __init__(self, protocols: Sequence[Protocol]) -> None:
        self._protocols = tuple(protocols)
        endpoints = [one for protocol in protocols for one in protocol.endpoints]
        _check_unique(f"{method} {one.path}" for one in endpoints for method in one.methods)
        _check_unique(one.name for one in endpoints)
        _check_unique(name for protocol in protocols for name in protocol.schemas)
        self._not_linkable = [compile_path(one.path)[0] for one in endpoints if not one.linkable]
        self._max_bodies = [(compile_path(one.path)[0], one.max_body) for one in endpoints]
        self._accesses = [
            (compile_path(one.path)[0], method, one.access)
            for one in endpoints
            for method in one.methods
        ]
        self._signed = [compile_path(one.path)[0] for one in endpoints if one.signed]
        self._open_paths = frozenset(one.path for one in endpoints if one.while_draining)

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
        return dict(ChainMap(*(dict(protocol.schemas) for protocol in self._protocols)))

    def error_response(self, scope: Scope, error: RequestError) -> Response:
        """Render an error in the protocol that owns the path of a request."""
        path = _path(scope)
        owners = (one for one in self._protocols if one.owns(path))
        owner = next(owners, self._protocols[0])
        response = owner.error_response(error)
        if error.code is ErrorCode.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = owner.challenge
        return response

    def access(self, scope: Scope) -> Access | None:
        """Which keys open the endpoint that a request is for; None for none of ours."""
        path = _path(scope)
        if _has_signature(scope) and any(pattern.match(path) for pattern in self._signed):
            return Access.OPEN
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        accesses = [
            access
            for pattern, own, access in self._accesses
            if own == method and pattern.match(path)
        ]
        return max(accesses, key=tuple(Access).index, default=None)

    def may_be_linked_to(self, scope: Scope) -> bool:
        """Whether a link on another site may lead to the path of a request: it starts no work."""
        path = _path(scope)
        return not any(pattern.match(path) for pattern in self._not_linkable)

    def max_body(self, scope: Scope) -> int | None:
        """Bytes of the longest body that the path of a request takes; None for no path of ours."""
        path = _path(scope)
        bounds = (bound for pattern, bound in self._max_bodies if pattern.match(path))
        return max(bounds, default=None)

    def serves_while_draining(self, path: str) -> bool:
        """Whether a path is open while the service shuts down, as liveness probes are."""
        return path in self._open_paths


def _path(scope: Scope) -> str:
    """The path of a request below the application's root."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _has_signature(scope: Scope) -> bool:
    return SIGNATURE in QueryParams(scope.get("query_string", b""))


def _check_unique(names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"{name} is there {count} times")
