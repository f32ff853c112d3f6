"""The inputs of a model: the fields of the native bodies, each as a tensor or a JSON value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, get_args

from pydantic import ValidationError

from api.bodies import Body, from_validation
from api.errors import shown
from api.parameters import GenerationParameters
from api.protocols.native.kinds import Kind, kinds
from api.protocols.native.schemas import ClassifyQuery, Img2ImgBody, InpaintBody, Txt2ImgBody
from contract.errors import ErrorCode, RequestError
from models.architectures import RequestField
from models.catalog import Task

# The model is named by the path, and there is no stream that previews could come in.
ELSEWHERE: Final = frozenset({"model", "previews"})
GENERATION: Final[Mapping[Task, Mapping[str, Kind]]] = {
    "txt2img": kinds(Txt2ImgBody, ELSEWHERE),
    "img2img": {**kinds(Img2ImgBody, ELSEWHERE), "init_image": "picture"},
    "inpaint": {**kinds(InpaintBody, ELSEWHERE), "init_image": "picture", "mask": "picture"},
}
CLASSIFICATION: Final[Mapping[str, Kind]] = {"image": "picture", **kinds(ClassifyQuery)}
_BODIES: Final[Mapping[Task, type[Txt2ImgBody]]] = {
    "txt2img": Txt2ImgBody,
    "img2img": Img2ImgBody,
    "inpaint": InpaintBody,
}


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a request gives a model.

    Attributes:
        values: those that are not pictures, by the names of the inputs.
        pictures: files, of use only as long as the request's body.
    """

    values: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, bytes | memoryview] = field(default_factory=dict)

    def generation(self, model: str) -> GenerationParameters:
        """The same as parameters of a generation: of the task that its pictures imply.

        Raises:
            RequestError: INVALID_REQUEST for a missing or unknown input, or one of another type.
        """
        if "mask" in self.pictures and "init_image" not in self.pictures:
            raise _missing("init_image", "where mask is")
        task = _task(self.pictures)
        body = _checked(_BODIES[task], self.values, GENERATION[task], f"of {task}")
        parameters: GenerationParameters = body.parameters()
        return replace(
            parameters,
            model=model,
            init_image=self.pictures.get("init_image"),
            mask=self.pictures.get("mask"),
        )

    def classification(self) -> tuple[bytes | memoryview, int | None]:
        """The picture to classify, and the number of labels that is wanted.

        Raises:
            RequestError: likewise.
        """
        query = _checked(ClassifyQuery, self.values, CLASSIFICATION, "of the classifier")
        if "image" not in self.pictures:
            raise _missing("image")
        return self.pictures["image"], query.top_k


def for_model(tasks: tuple[Task, ...], fields: frozenset[str]) -> dict[str, Kind]:
    """The inputs of a model that can do these tasks, and takes these optional fields."""
    names = {name: kind for task in tasks for name, kind in GENERATION[task].items()}
    others = frozenset(get_args(RequestField)) - fields
    return {name: kind for name, kind in names.items() if name not in others}


def _task(pictures: Mapping[str, Any]) -> Task:
    if "mask" in pictures:
        return "inpaint"
    return "img2img" if "init_image" in pictures else "txt2img"


def _checked(
    body: type[Body], values: Mapping[str, Any], kinds: Mapping[str, Kind], whose: str
) -> Any:
    for name in values:
        if name not in kinds:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                f"{shown(name)} is not one of the inputs {whose}, which are {', '.join(kinds)}",
                field=name,
            )
    try:
        return body.model_validate(dict(values))
    except ValidationError as error:
        raise from_validation(error, body.known_fields()) from None


def _missing(name: str, where: str = "") -> RequestError:
    return RequestError(
        ErrorCode.INVALID_REQUEST, f"{name} is required {where}".strip(), field=name
    )
