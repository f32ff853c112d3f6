"""An image classifier on disk: a ViT with its image processor, as transformers writes them.

Read without transformers, for the processes that stay without torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from models.errors import LoadError
from models.weights import read_header

EMBEDDED = Path(__file__).parent / "classifier"

Channels = tuple[float, float, float]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class ViT:
    """The description of a classifier, for preparing pictures and naming its results.

    A picture is resized to exactly ``width`` x ``height`` pixels with Pillow's filter number
    ``resample``; then every value v, from 0 to 255, becomes (v * factor - mean) / std of its
    channel. ``labels`` are in the order of the network's outputs.
    """

    name: str
    folder: Path
    labels: tuple[str, ...]
    width: int
    height: int
    resample: int
    factor: float
    mean: Channels
    std: Channels


class _Config(BaseModel):
    """The part of ``config.json`` that matters here."""

    architectures: tuple[Literal["ViTForImageClassification"]]
    id2label: dict[int, str] = Field(min_length=2)

    @model_validator(mode="after")
    def _numbered(self) -> Self:
        if sorted(self.id2label) != list(range(len(self.id2label))):
            raise ValueError("id2label must number the labels from 0 on")
        return self


class _Size(BaseModel):
    height: int = Field(ge=1, le=4096)
    width: int = Field(ge=1, le=4096)


def _square(size: Any) -> Any:
    """Older files have one number for both sides."""
    return {"height": size, "width": size} if isinstance(size, int) else size


class _Processor(BaseModel):
    """``preprocessor_config.json``, where it asks for nothing that the service would not do."""

    size: Annotated[_Size, BeforeValidator(_square)]
    do_resize: Literal[True] = True
    do_center_crop: Literal[False] | None = None
    do_pad: Literal[False] | None = None
    resample: int = Field(2, ge=0, le=5)
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: Channels = (0.5, 0.5, 0.5)
    image_std: Channels = (0.5, 0.5, 0.5)


def find_vit(choice: str) -> ViT | None:
    """The classifier of a setting: ``embedded``, ``none``, or a folder.

    Raises:
        ModelError: the folder has no classifier that could be served.
    """
    if choice == "none":
        return None
    return read_vit(EMBEDDED if choice == "embedded" else Path(choice))


def read_vit(folder: Path) -> ViT:
    """Read what a folder says of its classifier, and check that its weights are safetensors.

    Raises:
        LoadError: a file is missing or broken, or it is another kind of network.
        UnsafeWeights: model.safetensors is in another format.
    """
    config = _read(_Config, folder / "config.json")
    processor = _read(_Processor, folder / "preprocessor_config.json")
    outputs = read_header(folder / "model.safetensors").get("classifier.weight", {}).get("shape")
    if not outputs or outputs[0] != len(config.id2label):
        raise LoadError(
            f"{folder}: config.json names {len(config.id2label)} labels, but that is not what "
            "model.safetensors was trained for."
        )
    normal = processor.do_normalize
    return ViT(
        name="embedded" if folder == EMBEDDED else folder.resolve().name,
        folder=folder,
        labels=tuple(config.id2label[number] for number in range(len(config.id2label))),
        width=processor.size.width,
        height=processor.size.height,
        resample=processor.resample,
        factor=processor.rescale_factor if processor.do_rescale else 1.0,
        mean=processor.image_mean if normal else (0.0, 0.0, 0.0),
        std=processor.image_std if normal else (1.0, 1.0, 1.0),
    )


def _read(kind: type[Model], file: Path) -> Model:
    try:
        return kind.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise LoadError(
            f"{file.parent} is not the folder of an image classifier: it has no {file.name}."
        ) from None
    except ValidationError as error:
        mistake = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in mistake["loc"])
        raise LoadError(f"{file}: {field or 'the file'}: {mistake['msg']}.") from None
    except (OSError, ValueError) as error:
        raise LoadError(f"{file} cannot be read: {error}") from error
