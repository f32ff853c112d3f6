"""Objects within the request bodies of the native protocol."""

from __future__ import annotations

from pydantic import Field

from api.bodies import Body
from api.parameters import LoraParameter, RefinerParameter


class LoraBody(Body):
    """A LoRA to apply to the model."""

    name: str = Field(
        description="One of the models that `GET /models` lists with the kind `lora`, and with "
        "the request's model as their `base`",
        examples=["clay"],
    )
    scale: float | None = Field(None, description="Weight; 1 is as it was trained", examples=[0.8])

    def parameter(self) -> LoraParameter:
        """The same in neutral names."""
        return LoraParameter(self.name, 1.0 if self.scale is None else self.scale)


class RefinerBody(Body):
    """A model that finishes the picture, from a noise level on."""

    model: str | None = Field(
        None,
        description="A refiner of the model's family that is served; default: the one that "
        "`GET /models` has as the model's `refiner`",
        examples=["sdxl-refiner"],
    )
    switch_at: float | None = Field(
        None,
        description="Fraction of the noise schedule at which it takes over; default 0.8",
        examples=[0.8],
    )
    aesthetic_score: float | None = Field(
        None, description="How well rated it is told the picture is; default 6", examples=[6.0]
    )
    negative_aesthetic_score: float | None = Field(
        None, description="The rating to avoid; default 2.5", examples=[2.5]
    )

    def parameter(self) -> RefinerParameter:
        """The same in neutral names."""
        return RefinerParameter(**self.model_dump())
