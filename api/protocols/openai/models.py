"""The handlers of the models, as OpenAI's clients and KServe's expect them."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from api.json_response import reply
from api.protocols.kserve.models import Models, NamedModel
from api.protocols.kserve.responses import ModelReady
from api.served_models import ServedModels


class OpenAIModel(ModelReady):
    """A model, in the words of KServe (`name`, `ready`) and of OpenAI."""

    id: str
    object: str = "model"
    created: int = Field(description="Seconds since 1970; 0 where that is not known")
    owned_by: str = "stable-diffusion-service"

    @classmethod
    def of(cls, name: str, model: NamedModel, ready: bool) -> Self:
        """A model by the name that a client knows it by."""
        provenance = None if model.choice is None else model.choice.provenance
        created = 0 if provenance is None else int(provenance.created.timestamp())
        return cls(id=name, name=name, ready=ready, created=created)


class OpenAIModelList(BaseModel):
    """The models, in the words of KServe (`models`) and of OpenAI (`data`)."""

    object: str = "list"
    data: list[OpenAIModel]
    models: list[str]


class ModelEndpoints:
    """Handlers: each takes a request with its body unread, and raises ``RequestError``.

    Args:
        models: finds the models.
        served: has their further names.
    """

    def __init__(self, models: Models, served: ServedModels) -> None:
        self._models = models
        self._served = served

    async def models(self, request: Request) -> Response:
        """All models, and the further names of those that are there."""
        known = await self._models.all()
        states = await self._models.states(known)
        named = {
            model.name: (model, state.ready) for model, state in zip(known, states, strict=True)
        }
        aliases = {
            alias: named[name] for alias, name in self._served.aliases.items() if name in named
        }
        models = [OpenAIModel.of(name, *each) for name, each in (named | aliases).items()]
        return reply(OpenAIModelList(data=models, models=[model.name for model in models]))

    async def model(self, request: Request) -> Response:
        """200 where requests to a model are served, else 503."""
        name: str = request.path_params["model"]
        model = await self._models.find(name)
        await self._models.check_ready(model)
        return reply(OpenAIModel.of(name, model, ready=True))
