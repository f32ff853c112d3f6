"""The operators' protocol: its endpoints, and errors as the native one has them."""

from __future__ import annotations

from typing import Any, Final

from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from api.backend import Backend
from api.endpoints import Endpoint
from api.keys.metering import Metering
from api.keys.ring import Keyring
from api.keys.scopes import Access
from api.protocols.admin.queue import QueueByKey, queue_by_key
from api.protocols.base import Protocol
from api.protocols.native import errors
from api.protocols.native.openapi_responses import (
    COMPONENT,
    REQUEST_ID,
    error_responses,
    reference,
)
from api.protocols.native.responses import JSON
from contract.errors import RequestError

_PREFIX: Final = "/admin"


class AdminProtocol(Protocol):
    """``/admin/queue``, where there are keys.

    Args:
        backend: has the jobs.
        keys: those that there are.
        metering: keeps account of them.
    """

    name = "admin"

    def __init__(self, backend: Backend, keys: Keyring, metering: Metering) -> None:
        self._backend = backend
        self._keys = keys
        self._metering = metering
        _, schemas = models_json_schema([(QueueByKey, "serialization")], ref_template=COMPONENT)
        self.schemas = dict(schemas["$defs"])
        self.endpoints = [
            Endpoint(
                path=f"{_PREFIX}/queue",
                methods=("GET",),
                name="admin_queue",
                handler=self._queue,
                tags=("Operation",),
                summary="What each key has waiting and running, and what it has had today",
                responses=_responses(),
                access=Access.ADMIN,
                linkable=True,
            )
        ]

    def error_response(self, error: RequestError) -> Response:
        return errors.response(error)

    def owns(self, path: str) -> bool:
        return path == _PREFIX or path.startswith(f"{_PREFIX}/")

    async def _queue(self, _: Request) -> Response:
        loads = await self._backend.tenants()
        body = queue_by_key(self._keys.keys, loads, self._metering)
        return Response(body.model_dump_json(), media_type=JSON)


def _responses() -> dict[int | str, dict[str, Any]]:
    queue = {
        "description": "The keys with their parts of the queue",
        "content": {JSON: {"schema": reference(QueueByKey)}},
        "headers": {"X-Request-Id": REQUEST_ID},
    }
    return {200: queue, **error_responses(errors.ErrorBody, 400, 403, 500, 503)}
