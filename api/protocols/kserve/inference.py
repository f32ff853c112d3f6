"""Inference: what both versions ask of the models, and its results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from starlette.requests import Request

from api.classifier import BoundedClassifier, ScoredLabel
from api.pictures import Pictures
from api.protocols.kserve.inputs import Inputs
from api.protocols.kserve.models import NamedModel
from api.protocols.kserve.tensors import BYTES, OutputTensor
from contract.errors import ErrorCode, RequestError
from contract.events import Image
from contract.request import GenerationRequest
from settings import Settings

# Such a body has a picture in it.
_WITH_PICTURE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Work:
    """What is left to do once the inputs are read: pictures to generate, or nothing more."""

    generation: GenerationRequest | None = None
    labels: tuple[ScoredLabel, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """The pictures of a generation, or the labels of a picture."""

    images: tuple[Image, ...] = ()
    labels: tuple[ScoredLabel, ...] = ()


class Inference:
    """Runs models.

    Args:
        pictures: validates and runs generations.
        classifier: classifies pictures, if there is one.
        settings: the limits.
    """

    def __init__(
        self, pictures: Pictures, classifier: BoundedClassifier | None, settings: Settings
    ) -> None:
        self._pictures = pictures
        self._classifier = classifier
        self._max_images = settings.max_images

    def check_room(self, model: NamedModel, asked: Request) -> None:
        """Raise ``RequestError``: BUSY where there is no room for the pictures of a body.

        To be asked before it is read.
        """
        announced = asked.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) <= _WITH_PICTURE:
            return
        if model.choice is not None:
            self._pictures.check_room(asked)
        elif self._classifier is not None:
            self._classifier.check_room(asked)

    def check_number(self, pictures: int) -> None:
        """Raise ``RequestError``: OUT_OF_RANGE for more pictures than a request may ask for."""
        if pictures > self._max_images:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"the instances of a request must ask for at most {self._max_images} pictures "
                f"together, got {pictures}",
                field="instances",
            )

    async def work(self, model: NamedModel, inputs: Inputs, asked: Request) -> Work:
        """Validate inputs, and decode the pictures among them; a classification is done then.

        Args:
            asked: the HTTP request, with its body read to its end.

        Raises:
            RequestError: whatever is wrong.
        """
        if model.choice is not None:
            parameters = inputs.generation(model.name)
            return Work(generation=await self._pictures.request(parameters, asked))
        assert self._classifier is not None  # noqa: S101  # else there was no such model
        picture, top_k = inputs.classification()
        number = self._classifier.top_k(top_k)
        labels = await self._classifier.classify(memoryview(picture), number, asked)
        return Work(labels=tuple(labels))

    async def run(self, works: Sequence[Work], asked: Request) -> list[Result]:
        """Do what is left, side by side, for as long as the client is connected.

        Raises:
            RequestError: OUT_OF_RANGE for more pictures than a request may ask for; whatever a
                generation failed with; CANCELLED if the client has left.
        """
        wanted = [work.generation for work in works if work.generation is not None]
        self.check_number(sum(each.num_images for each in wanted))
        images = iter(await self._pictures.run_all(wanted, asked.receive) if wanted else ())
        return [
            Result(labels=work.labels) if work.generation is None else Result(tuple(next(images)))
            for work in works
        ]

    async def tensors(self, result: Result, names: Sequence[str]) -> list[OutputTensor]:
        """The outputs of these names."""
        images, count = result.images, (len(result.images),)
        outputs = {
            "images": OutputTensor("images", BYTES, count, [each.data for each in images]),
            "seeds": OutputTensor("seeds", "INT64", count, [each.seed for each in images]),
            "prompts": OutputTensor("prompts", BYTES, count, [each.prompt for each in images]),
            "warnings": OutputTensor(
                "warnings", BYTES, count, [json.dumps(each.warnings) for each in images]
            ),
            "screening": OutputTensor(
                "screening", BYTES, count, [json.dumps(each.screening) for each in images]
            ),
        }
        if result.labels:
            count = (len(result.labels),)
            outputs = {
                "labels": OutputTensor("labels", BYTES, count, [x.label for x in result.labels]),
                "scores": OutputTensor("scores", "FP32", count, [x.score for x in result.labels]),
            }
        if "pixels" in names:
            outputs["pixels"] = await asyncio.to_thread(_pixels, images)
        return [outputs[name] for name in names]


def _pixels(images: Sequence[Image]) -> OutputTensor:
    """The pictures' pixels. Blocking."""
    # The service's own pictures need no process that can be killed. Otherwise nothing here needs
    # Pillow.
    import PIL.Image

    rows = []
    for image in images:
        with PIL.Image.open(BytesIO(image.data)) as picture:
            rows.append(picture.convert("RGB").tobytes())
    shape = (len(images), images[0].height, images[0].width, 3)
    return OutputTensor("pixels", "UINT8", shape, rows)
