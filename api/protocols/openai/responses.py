"""Response bodies: finished pictures, together or one by one in a stream."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Literal, Self

from pydantic import BaseModel, Field, JsonValue

from api import base64_text
from api.protocols.openai.errors import OpenAIErrorDetail
from api.protocols.openai.usage import Usage
from contract.events import Image, Progress
from contract.request import GenerationRequest, OutputFormat

_BASE64: Final[dict[str, JsonValue]] = {"contentEncoding": "base64"}
_WARNINGS = "Fields that make no difference, adjusted parameters and other deviations"
_SCREENING = "The screening checks that found something in it"


def _absent(value: object) -> bool:
    return value is None


class OpenAIImage(BaseModel):
    """A picture. What comes after `revised_prompt` is not OpenAI's."""

    b64_json: str | None = Field(
        None,
        description="The file, in base64, where `response_format` is not `url`",
        exclude_if=_absent,
        json_schema_extra=_BASE64,
    )
    url: str | None = Field(
        None, description="A signed link to it, which expires, where it is", exclude_if=_absent
    )
    revised_prompt: str | None = Field(
        None, description="The prompt that was used, where it was made of a template"
    )
    seed: int = Field(description="The seed that gives this picture alone")
    screening: tuple[str, ...] = Field(description=_SCREENING)


class ImagesResponse(BaseModel):
    """The pictures, in the order of their index. `model` and `warnings` are not OpenAI's."""

    created: int = Field(description="Seconds since 1970")
    data: list[OpenAIImage]
    background: Literal["opaque"]
    output_format: OutputFormat
    size: str = Field(description="`WIDTHxHEIGHT`, in pixels")
    usage: Usage
    model: str = Field(description="The model that was used")
    warnings: tuple[str, ...] = Field(description=_WARNINGS)

    @classmethod
    def of(
        cls,
        wanted: GenerationRequest,
        images: Sequence[Image],
        warnings: Sequence[str],
        links: Sequence[str] | None = None,
    ) -> Self:
        """The pictures of a request, or links to them, and sentences about its fields."""
        of_pictures = [sentence for image in images for sentence in image.warnings]
        return cls(
            created=int(time.time()),
            data=[
                OpenAIImage(
                    b64_json=base64_text.encode(image.data) if links is None else None,
                    url=None if links is None else links[place],
                    revised_prompt=image.prompt if wanted.prompts else None,
                    seed=image.seed,
                    screening=image.screening,
                )
                for place, image in enumerate(images)
            ],
            background="opaque",
            output_format=wanted.output_format,
            size=_size(wanted),
            usage=Usage.of(wanted, len(images)),
            model=wanted.served_as,
            warnings=tuple(dict.fromkeys([*warnings, *of_pictures])),
        )


class PictureEvent(BaseModel):
    """What the events of a stream that carry a picture have. `index` is not OpenAI's."""

    type: str
    b64_json: str = Field(description="The file, in base64", json_schema_extra=_BASE64)
    created_at: int = Field(description="Seconds since 1970")
    background: Literal["opaque"] = "opaque"
    quality: Literal["auto"] = "auto"
    output_format: OutputFormat = Field(description="Of this file: unfinished ones are PNG")
    size: str = Field(description="`WIDTHxHEIGHT` of the finished picture, in pixels")
    index: int = Field(description="Index among the request's pictures, from 0")


class PartialImageEvent(PictureEvent):
    """An unfinished picture."""

    partial_image_index: int = Field(description="How many of this picture came before it")

    @classmethod
    def of(
        cls, kind: str, wanted: GenerationRequest, event: Progress, preview: bytes, number: int
    ) -> Self:
        """An event with a preview, of which ``number`` came before."""
        return cls(
            type=f"{kind}.partial_image",
            b64_json=base64_text.encode(preview),
            created_at=int(time.time()),
            output_format=OutputFormat.PNG,
            size=_size(wanted),
            index=event.index,
            partial_image_index=number,
        )


class CompletedEvent(PictureEvent):
    """A finished picture. What comes after `usage` is not OpenAI's."""

    usage: Usage = Field(description="Of this picture; those of a request share its input")
    revised_prompt: str | None = Field(
        None, description="The prompt that was used, where it was made of a template"
    )
    seed: int = Field(description="The seed that gives this picture alone")
    screening: tuple[str, ...] = Field(description=_SCREENING)
    model: str = Field(description="The model that was used")
    warnings: tuple[str, ...] = Field(description=_WARNINGS)

    @classmethod
    def of(
        cls, kind: str, wanted: GenerationRequest, image: Image, warnings: Sequence[str]
    ) -> Self:
        """An event with a picture."""
        return cls(
            type=f"{kind}.completed",
            b64_json=base64_text.encode(image.data),
            created_at=int(time.time()),
            output_format=wanted.output_format,
            size=_size(wanted),
            index=image.index,
            usage=Usage.of(wanted, 1),
            revised_prompt=image.prompt if wanted.prompts else None,
            seed=image.seed,
            screening=image.screening,
            model=wanted.served_as,
            warnings=tuple(dict.fromkeys([*warnings, *image.warnings])),
        )


class ErrorEvent(BaseModel):
    """The end of a stream that failed."""

    type: Literal["error"] = "error"
    error: OpenAIErrorDetail


def _size(wanted: GenerationRequest) -> str:
    return f"{wanted.width}x{wanted.height}"
