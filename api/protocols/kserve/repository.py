"""The handlers of version 2's model repository: which models there are, loading and unloading."""

from __future__ import annotations

import asyncio
import json
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from api.arrival import remaining
from api.bodies import Body
from api.json_response import reply
from api.protocols.kserve.models import Models, NamedModel
from api.protocols.kserve.requests import (
    LoadRequest,
    RepositoryIndexRequest,
    UnloadRequest,
)
from api.protocols.kserve.responses import ModelLoaded, ModelUnloaded, RepositoryModel
from api.protocols.kserve.v2 import check_type
from api.protocols.native.responses import JSON
from api.uploads import Uploads
from contract.errors import ErrorCode, RequestError
from settings import Settings

B = TypeVar("B", bound=Body)


class RepositoryEndpoints:
    """Handlers: each takes a request with its body unread, and raises ``RequestError``.

    Args:
        models: finds the models, and loads and unloads them.
        uploads: reads the bodies.
        settings: whether clients may do that, and how long a request may take.
    """

    def __init__(self, models: Models, uploads: Uploads, settings: Settings) -> None:
        self._models = models
        self._uploads = uploads
        self._allowed = settings.model_control
        self._deadline = settings.deadline

    async def index(self, request: Request) -> Response:
        """The models of the repository."""
        wanted = await self._read(RepositoryIndexRequest, request)
        models = await self._models.all()
        states = await self._models.states(models)
        listed = [
            RepositoryModel(
                name=model.name,
                version=model.version,
                state=state.availability,
                reason=state.reason,
            )
            for model, state in zip(models, states, strict=True)
            if state.ready or not wanted.ready
        ]
        return Response(json.dumps([each.model_dump() for each in listed]), media_type=JSON)

    async def load(self, request: Request) -> Response:
        """Bring a model into memory; 200 when it is there."""
        model = await self._named(LoadRequest, request)
        try:
            async with asyncio.timeout(remaining(self._deadline)):
                await self._models.load(model)
        except TimeoutError:
            raise RequestError(
                ErrorCode.DEADLINE_EXCEEDED,
                f"{model.name} was not loaded within {self._deadline:g} seconds, and is being "
                "loaded still",
                field="model",
            ) from None
        return reply(ModelLoaded(name=model.name, load=True))

    async def unload(self, request: Request) -> Response:
        """Take no more requests for a model; it leaves the memory when no job needs it."""
        model = await self._named(UnloadRequest, request)
        await self._models.unload(model)
        return reply(ModelUnloaded(name=model.name, unload=True))

    async def _named(
        self, body: type[LoadRequest] | type[UnloadRequest], request: Request
    ) -> NamedModel:
        """The model of a request that is to change its state."""
        if not self._allowed:
            raise RequestError(
                ErrorCode.FORBIDDEN,
                "clients may not load and unload models here, unless SD_MODEL_CONTROL is true",
            )
        await self._read(body, request)
        return await self._models.find(request.path_params["model"])

    async def _read(self, body: type[B], request: Request) -> B:
        check_type(request)
        return body.parse(await self._uploads.read(request) or b"{}")
