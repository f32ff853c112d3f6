"""Response bodies of the native protocol: generated pictures and predictions."""

from __future__ import annotations

import base64
from typing import Self

from pydantic import BaseModel, Field

from contract.events import Image


class GeneratedImage(BaseModel):
    """A generated picture."""

    index: int = Field(description="Index among the request's pictures, from 0")
    data: str = Field(
        description="The file, in base64", json_schema_extra={"contentEncoding": "base64"}
    )
    media_type: str
    width: int
    height: int
    seed: int = Field(description="The seed that gives this picture alone")
    prompt: str = Field(description="The prompt that was used")
    warnings: tuple[str, ...] = Field(description="Adjusted parameters and other deviations")
    screening: tuple[str, ...] = Field(
        description="The screening checks that found something in the picture"
    )

    @classmethod
    def of(cls, image: Image) -> Self:
        """Present an event of the engine."""
        return cls(
            index=image.index,
            data=base64.b64encode(image.data).decode("ascii"),
            media_type=image.media_type,
            width=image.width,
            height=image.height,
            seed=image.seed,
            prompt=image.prompt,
            warnings=image.warnings,
            screening=image.screening,
        )


class UsedLora(BaseModel):
    """A LoRA that was applied, beside the one that a fine-tuned model may be."""

    name: str
    scale: float


class GeneratedImages(BaseModel):
    """All pictures of a request, in the order of their index."""

    images: list[GeneratedImage]
    model: str = Field(description="The model that was used")
    loras: list[UsedLora]
    request_id: str = Field(description="The name of this request in the service's logs")


class Prediction(BaseModel):
    """A label of a picture."""

    label: str
    score: float = Field(description="Probability; those of all labels add up to 1", ge=0, le=1)


class Predictions(BaseModel):
    """The likeliest labels of a picture."""

    predictions: list[Prediction] = Field(description="The likeliest first")
    model: str = Field(description="The classifier")
    request_id: str = Field(description="The name of this request in the service's logs")
