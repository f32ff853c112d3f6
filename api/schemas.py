"""The bodies that clients send and receive. Ranges are in ``api.limits``."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.errors import from_validation, shown
from contract.errors import ErrorCode, RequestError
from contract.events import Image
from contract.screening import Action, CheckName
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
            raise from_validation(error, cls.known_fields()) from None

    @classmethod
    def known_fields(cls) -> dict[str, list[str]]:
        """The names of its fields, under "", and of those of the objects in a list, under its."""
        return {"": list(cls.model_fields)}


class LoraBody(Body):
    """A LoRA to apply to the model."""

    name: str = Field(
        description="One of the models that `GET /models` lists with the kind `lora`, and with "
        "the request's model as their `base`",
        examples=["clay"],
    )
    scale: float | None = Field(None, description="How much of it", examples=[0.8])


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
    expand_prompt: bool | None = Field(
        None,
        description="Whether `prompt` is a template: `a {red|green} apple`, `{2$$a|b|c}`, "
        "`__wildcard__`. The choices follow from the seed, those of the picture with index i from "
        "`seed` + i",
        examples=[False],
    )
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
    model: str | None = Field(
        None,
        description="One of the models that `GET /models` lists at this moment; `auto`: the "
        "fine-tuned one whose `subject_token` is in the prompt, else the default",
    )
    loras: list[LoraBody] | None = Field(
        None,
        description="LoRAs to apply together; each may be there once",
        examples=[[]],
    )
    output_format: str | None = Field(None, description="File format", examples=["png"])
    previews: bool | None = Field(
        None,
        description="Whether progress events carry a small PNG of how the picture stands; only "
        "with `Accept: text/event-stream`",
        examples=[False],
    )

    @classmethod
    def known_fields(cls) -> dict[str, list[str]]:
        return {**super().known_fields(), "loras": list(LoraBody.model_fields)}


class Query(Body):
    """The parameters of a URL, exactly the documented ones."""

    @classmethod
    def of(cls, parameters: Sequence[tuple[str, str]]) -> Self:
        """Read them. Raises ``RequestError``."""
        values: dict[str, str] = {}
        for name, value in parameters:
            if name in values:
                message = f"{shown(name)} may be given once only"
                raise RequestError(ErrorCode.INVALID_REQUEST, message, field=name)
            values[name] = value
        try:
            return cls.model_validate_strings(values)
        except ValidationError as error:
            raise from_validation(error, cls.known_fields()) from None


class ClassifyQuery(Query):
    """How to answer a classification."""

    top_k: int | None = Field(
        None, description="How many labels to name, the likeliest first", examples=[5]
    )


class DreamboothQuery(Query):
    """A picture of a subject, in the words of the URL."""

    prompt: str = Field(
        description="What to draw; the `subject_token` of a fine-tuned model in it chooses that "
        "model",
        examples=["a red apple on a blue background"],
    )
    img_size: int | None = Field(
        None,
        description="Width and height in pixels, a multiple of the model's `multiple_of`; "
        "default: the model's own size",
        examples=[64],
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
    prompt: str = Field(description="What was drawn")
    warnings: tuple[str, ...] = Field(description="What was not followed to the letter")
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
    """What a picture may show."""

    label: str
    score: float = Field(description="Probability; those of all labels add up to 1", ge=0, le=1)


class Predictions(BaseModel):
    """What the classifier takes a picture for."""

    predictions: list[Prediction] = Field(description="The likeliest first")
    model: str = Field(description="The classifier")
    request_id: str = Field(description="The name of this request in the service's logs")


class FineTuning(BaseModel):
    """How a fine-tuned model came about."""

    base: str = Field(description="The model that it was tuned from")
    base_revision: str = Field(description="The base's weights at that time")
    subject_token: str | None = Field(description="The word that stands for its subject")
    class_name: str | None = Field(description="What kind of thing its subject is")
    steps: int | None = Field(description="Steps of training")
    data_hash: str | None = Field(description="Hash of the training pictures")
    created: datetime
    size: int = Field(description="Bytes of its weights on the disk")


class ModelInfo(BaseModel):
    """One model that is being served."""

    name: str
    kind: Literal["base", "full", "lora"] = Field(
        description="`full` and `lora` are fine-tuned; those of the kind `lora` may be in `loras` "
        "too, with their `base` as the model"
    )
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
    fine_tuning: FineTuning | None = Field(description="null for a base")
    screening: dict[CheckName, Action] = Field(
        description="What is done with a picture that a check finds something in"
    )


class ModelLimits(BaseModel):
    """The limits that all models share."""

    min_side: int
    max_side: int
    max_pixels: int = Field(description="width x height")
    max_steps: int
    max_images: int = Field(description="Pictures per request")
    max_loras: int = Field(description="Elements of `loras`")
    max_prompt_chars: int
    max_body_bytes: int
    max_input_pixels: int = Field(description="width x height of an input picture")


class ClassifierInfo(BaseModel):
    """The image classifier."""

    name: str
    labels: int = Field(description="How many things it tells apart")
    width: int = Field(description="Pixels that pictures are resized to")
    height: int


class ModelList(BaseModel):
    """What is being served."""

    version: str = Field(description="Of the service")
    models: list[ModelInfo]
    classifier: ClassifierInfo | None = Field(description="null where none is served")
    limits: ModelLimits
    schedulers: list[str]
    output_formats: list[str]
