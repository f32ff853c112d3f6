"""The bodies that clients send and receive. Ranges are in ``api.limits``."""

from __future__ import annotations

import base64
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.errors import from_validation
from engine.events import Image
from models.catalog import Defaults, Task


class Body(BaseModel):
    """A JSON object with exactly the documented fields, each of exactly its type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read UTF-8 JSON. Raises ``RequestError`` for anything else, and for a wrong field."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise from_validation(error, cls.model_fields) from None


class Txt2ImgBody(Body):
    """A picture from a text. Absent and null both mean the default."""

    task: ClassVar[Task] = "txt2img"
    example: ClassVar[dict[str, Any]] = {
        "prompt": "a red apple on a blue background",
        "num_inference_steps": 20,
        "scheduler": "dpmpp_2m",
        "seed": 42,
    }

    prompt: str = Field(
        description="What to draw; `(words:1.3)` gives words a weight, 0 to 2",
        examples=["a red apple on a blue background"],
    )
    negative_prompt: str | None = Field(None, description="What to avoid", examples=["blurry"])
    width: int | None = Field(None, description="Pixels, a multiple of the model's `multiple_of`")
    height: int | None = Field(None, description="Pixels, a multiple of the model's `multiple_of`")
    num_inference_steps: int | None = Field(
        None, description="Denoising steps; at most 50 with the `lcm` scheduler", examples=[20]
    )
    guidance_scale: float | None = Field(
        None,
        description="How closely to follow the prompt; at 1 or below `negative_prompt` is unused",
        examples=[4.0],
    )
    scheduler: str | None = Field(None, description="Sampler", examples=["dpmpp_2m"])
    seed: int | None = Field(
        None,
        description="The same request with the same seed gives the same picture; "
        "-1 or none: a random one, returned in `X-Seed`",
        examples=[42],
    )
    num_images: int | None = Field(
        None,
        description="Pictures; the one with index i is what `seed` + i gives alone. More than "
        "one come as JSON",
        examples=[1],
    )
    model: str | None = Field(None, description="One of the models that `GET /models` lists")
    output_format: str | None = Field(None, description="File format", examples=["png"])
    previews: bool | None = Field(
        None,
        description="Whether progress events carry a small PNG of how the picture stands; only "
        "with `Accept: text/event-stream`",
        examples=[False],
    )


class Img2ImgBody(Txt2ImgBody):
    """A picture from a text and a picture. Absent and null both mean the default."""

    task: ClassVar[Task] = "img2img"
    example = {**Txt2ImgBody.example, "strength": 0.6}

    width: int | None = Field(
        None,
        description="Pixels, a multiple of the model's `multiple_of`; default: the input "
        "picture's aspect ratio at about the model's native area",
    )
    height: int | None = Field(None, description="As `width`; one alone keeps the aspect ratio")
    strength: float | None = Field(
        None,
        description="Share of the steps that is run: 1 ignores the input picture; "
        "num_inference_steps x strength must be at least 1",
        examples=[0.6],
    )


class InpaintBody(Img2ImgBody):
    """A picture with a part painted anew. Absent and null both mean the default."""

    task = "inpaint"
    example = Txt2ImgBody.example

    strength: float | None = Field(
        None,
        description="Share of the steps that is run: 1 ignores what was under the mask; "
        "num_inference_steps x strength must be at least 1",
        examples=[1.0],
    )


class GeneratedImage(BaseModel):
    """A picture that was made."""

    index: int = Field(description="Which of the request's pictures it is, from 0")
    data: str = Field(
        description="The file, in base64", json_schema_extra={"contentEncoding": "base64"}
    )
    media_type: str
    width: int
    height: int
    seed: int = Field(description="The seed that gives this picture alone")
    warnings: tuple[str, ...] = Field(description="What was not followed to the letter")

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
            warnings=image.warnings,
        )


class GeneratedImages(BaseModel):
    """All pictures of a request, in the order of their index."""

    images: list[GeneratedImage]
    model: str = Field(description="The model that was used")
    request_id: str = Field(description="The name of this request in the service's logs")


class ModelInfo(BaseModel):
    """One model that is being served."""

    name: str
    default: bool = Field(description="Whether requests without `model` go to it")
    family: str
    precision: str
    description: str
    licence: str
    tasks: list[Task] = Field(description="What it can do")
    multiple_of: int = Field(description="What width and height must divide by")
    defaults: Defaults = Field(
        description="What a request falls back on; `strength` is that of img2img"
    )


class ModelLimits(BaseModel):
    """The limits that all models share."""

    min_side: int
    max_side: int
    max_pixels: int = Field(description="width x height")
    max_steps: int
    max_images: int = Field(description="Pictures per request")
    max_prompt_chars: int
    max_body_bytes: int
    max_input_pixels: int = Field(description="width x height of an input picture")


class ModelList(BaseModel):
    """What is being served."""

    models: list[ModelInfo]
    limits: ModelLimits
    schedulers: list[str]
    output_formats: list[str]
