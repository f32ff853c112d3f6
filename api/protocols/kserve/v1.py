"""The handlers of version 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api import base64_text, request_id
from api.json_response import reply
from api.protocols.kserve.inference import Inference, Result, Work
from api.protocols.kserve.inputs import Inputs
from api.protocols.kserve.models import Models, NamedModel
from api.protocols.kserve.requests import PredictRequest
from api.protocols.kserve.responses import PredictResponse
from api.protocols.kserve.v2 import check_type
from api.protocols.native.results import (
    GeneratedImage,
    GeneratedImages,
    Prediction,
    Predictions,
    UsedLora,
)
from api.uploads import Uploads
from contract.errors import RequestError


class V1Endpoints:
    """Handlers: each takes a request with its body unread, and raises ``RequestError``.

    Args:
        models: finds the models.
        inference: runs them.
        uploads: reads the bodies.
    """

    def __init__(self, models: Models, inference: Inference, uploads: Uploads) -> None:
        self._models = models
        self._inference = inference
        self._uploads = uploads

    async def predict(self, request: Request) -> Response:
        """Instances in, predictions out."""
        model = await self._models.find(request.path_params["model"])
        check_type(request)
        self._inference.check_room(model, request)
        works = await self._works(model, request)
        results = await self._inference.run(works, request)
        predictions = [
            _prediction(model, work, result) for work, result in zip(works, results, strict=True)
        ]
        return reply(PredictResponse(predictions=predictions))

    async def _works(self, model: NamedModel, request: Request) -> list[Work]:
        """Read a request; nothing of its body is kept but what is decoded."""
        async with self._uploads.inflated(request) as body:
            instances = (await self._uploads.parse(PredictRequest, body)).instances
            if model.choice is not None:
                # Each asks for one at least.
                self._inference.check_number(len(instances))
            works = []
            for index, instance in enumerate(instances):
                with _of_instance(index):
                    works.append(
                        await self._inference.work(model, _inputs(model, instance), request)
                    )
            return works


def _inputs(model: NamedModel, instance: dict[str, Any]) -> Inputs:
    """The inputs of an instance."""
    inputs = Inputs()
    kinds = model.known_inputs
    for name, value in instance.items():
        if value is None:
            continue
        if kinds.get(name) == "picture":
            inputs.pictures[name] = base64_text.decode(name, value)
        else:
            inputs.values[name] = value
    return inputs


@contextmanager
def _of_instance(index: int) -> Iterator[None]:
    """Raise every ``RequestError`` of the block with the instance that it is about."""
    try:
        yield
    except RequestError as error:
        place = f"instances.{index}"
        raise RequestError(
            error.code,
            f"{place}: {error.message}",
            field=place if error.field is None else f"{place}.{error.field}",
            retry_after=error.retry_after,
        ) from error


def _prediction(model: NamedModel, work: Work, result: Result) -> GeneratedImages | Predictions:
    wanted = work.generation
    if wanted is None:
        labels = [Prediction(label=one.label, score=one.score) for one in result.labels]
        return Predictions(
            predictions=labels, model=model.name, request_id=request_id.current.get()
        )
    return GeneratedImages(
        images=[GeneratedImage.of(image) for image in result.images],
        model=wanted.served_as,
        loras=[UsedLora(name=use.name, scale=use.scale) for use in wanted.further_loras],
        request_id=wanted.request_id,
    )
