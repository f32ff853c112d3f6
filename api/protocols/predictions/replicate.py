"""What Replicate's clients ask for beside predictions: a model, and its one version."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.errors import shown
from api.protocols.predictions.acceptance import Acceptance
from api.served_models import ModelChoice, ServedModels
from contract.errors import ErrorCode, RequestError

# Of an array of links: what clients take the output for.
_OUTPUT: Final = {"type": "array", "items": {"type": "string", "format": "uri"}, "title": "Output"}


class ReplicateModels:
    """Handlers.

    Args:
        served: the served models.
        input_schema: the JSON Schema of a prediction's input.
        acceptance: says how links begin.
    """

    def __init__(
        self, served: ServedModels, input_schema: Mapping[str, Any], acceptance: Acceptance
    ) -> None:
        self._served = served
        self._schema = {"components": {"schemas": {"Input": dict(input_schema), "Output": _OUTPUT}}}
        self._acceptance = acceptance

    async def model(self, request: Request) -> Response:
        """A model, under any owner's name."""
        choice = await self._find(request)
        owner = request.path_params["owner"]
        return JSONResponse(
            {
                "url": f"{self._acceptance.base_url(request)}/v1/models/{owner}/{choice.name}",
                "owner": owner,
                "name": choice.name,
                "description": choice.model.description,
                "visibility": "private",
                "run_count": 0,
                "latest_version": self._version(choice),
            }
        )

    async def version(self, request: Request) -> Response:
        """The version of a model, which is called as the model is."""
        choice = await self._find(request)
        if request.path_params["version"] != choice.name:
            message = f"the version of {choice.name} is {choice.name}"
            raise RequestError(ErrorCode.NOT_FOUND, message, field="version")
        return JSONResponse(self._version(choice))

    async def _find(self, request: Request) -> ModelChoice:
        name = request.path_params["name"]
        await self._served.refresh()
        for choice in self._served.snapshot().choices():
            if choice.name == name:
                return choice
        raise RequestError(
            ErrorCode.NOT_FOUND,
            f"there is no model {shown(name)}; GET /models lists them",
            field="model",
        )

    def _version(self, choice: ModelChoice) -> dict[str, Any]:
        made = datetime.fromtimestamp(0, UTC)
        if choice.provenance is not None:
            made = choice.provenance.created
        return {
            "id": choice.name,
            "created_at": made.isoformat(),
            "cog_version": "0",
            "openapi_schema": self._schema,
        }
