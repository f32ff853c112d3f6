"""Request bodies: OpenAI's fields, and those of the native bodies beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from api.bodies import Body
from api.errors import shown
from api.parameters import GenerationParameters
from api.protocols.native.schemas import Img2ImgBody, InpaintBody, Txt2ImgBody
from contract.errors import ErrorCode, RequestError

AUTO_SIZE: Final = "auto"
# Native fields that OpenAI has a name of its own for.
RENAMED: Final[Mapping[str, str]] = {"num_images": "n", "previews": "partial_images"}
# What clients call the parameters that have a neutral name.
_NAMES: Final[Mapping[str, str]] = {**RENAMED, "output_quality": "output_compression"}
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})", re.ASCII)
_MAX_PICTURES: Final = 16  # as the protocol has it


class ImagesBody(Txt2ImgBody):
    """What all of them have. Absent and null both mean the default."""

    n: int | None = Field(
        None, description="Pictures; the one with index i is what `seed` + i gives alone"
    )
    size: str | None = Field(
        None,
        description="`WIDTHxHEIGHT` in pixels, multiples of the model's `multiple_of`, or `auto`: "
        "the model's own size, with an input picture its aspect ratio at about that area. "
        "`width` and `height` are another way to say it",
        examples=[AUTO_SIZE],
    )
    response_format: str | None = Field(
        None,
        description="`b64_json`, or `url`: signed links, which expire, to pictures that are kept "
        "for as long as those of predictions. Not in a stream, and not where no predictions are "
        "kept",
        examples=["b64_json"],
    )
    output_compression: int | None = Field(
        None,
        description="Quality of a JPEG or WebP; default: 95. Of a PNG, 100 or none",
        examples=[100],
    )
    quality: str | None = Field(
        None,
        description="Ignored, but for `auto` and `standard` with a warning: "
        "`num_inference_steps` says how much work a picture is",
        examples=["auto"],
    )
    background: str | None = Field(
        None, description="Pictures are opaque: `transparent` is refused", examples=["auto"]
    )
    moderation: str | None = Field(
        None,
        description="Ignored, but for `auto` with a warning: the service says how it screens",
        examples=["auto"],
    )
    user: str | None = Field(None, description="Ignored, with a warning", examples=["someone"])

    @property
    def sides(self) -> tuple[int | None, int | None]:
        """Width and height in pixels, each None where it is not given. Raises ``RequestError``."""
        if self.size is None:
            return self.width, self.height
        if (self.width, self.height) != (None, None):
            raise _invalid("size must be absent where width or height is given", "size")
        if self.size == AUTO_SIZE:
            return None, None
        parts = _SIZE.fullmatch(self.size)
        if parts is None:
            raise _invalid(
                f"size must be {AUTO_SIZE} or WIDTHxHEIGHT, such as 1024x768, "
                f"got {shown(self.size)}",
                "size",
            )
        return int(parts[1]), int(parts[2])

    @property
    def names(self) -> Mapping[str, str]:
        """The client's names of the parameters that it calls otherwise."""
        by_size = {} if self.size is None else {"width": "size", "height": "size"}
        return {**_NAMES, **by_size}

    def parameters(self) -> GenerationParameters:
        """The same in neutral names. Raises ``RequestError`` for a size that is none."""
        width, height = self.sides
        return replace(
            super().parameters(),
            width=width,
            height=height,
            num_images=self.n,
            output_quality=self.output_compression,
        )

    def check_names(self) -> None:
        """Raise ``RequestError`` for a native field that has another name here."""
        for field, name in RENAMED.items():
            if getattr(self, field) is not None:
                raise _invalid(f"{field} is called {name} here", field)

    @classmethod
    def known_fields(cls) -> dict[str, list[str]]:
        known = super().known_fields()
        return {**known, "": [name for name in known[""] if name not in RENAMED]}


class StreamedBody(ImagesBody):
    """What those have that can be streamed."""

    stream: bool | None = Field(
        None,
        description="Whether the response is a stream of server-sent events",
        examples=[False],
    )
    partial_images: int | None = Field(
        None,
        description="How many unfinished pictures a stream has of each picture, at most: small "
        "PNGs, one pixel per latent",
        examples=[0],
    )

    def parameters(self) -> GenerationParameters:
        return replace(super().parameters(), previews=bool(self.partial_images))


class ImageGeneration(StreamedBody):
    """Pictures from a text."""

    example: ClassVar[dict[str, Any]] = {
        "prompt": "a red apple on a blue background",
        "n": 1,
        "size": AUTO_SIZE,
        "seed": 42,
    }

    style: str | None = Field(
        None, description="Ignored, with a warning: the prompt says it", examples=["vivid"]
    )


class ImageEdit(InpaintBody, StreamedBody):
    """Pictures from a text and a picture; with a mask, of the part that is to be edited."""

    example: ClassVar[dict[str, Any]] = {"prompt": "a green apple on a blue background", "seed": 42}

    strength: float | None = Field(
        None,
        description="Share of the steps that is run: 1 ignores the input picture; "
        "num_inference_steps x strength must be at least 1. Default: 1 with a mask, else the "
        "model's",
        examples=[0.6],
    )
    input_fidelity: str | None = Field(
        None,
        description="Ignored, with a warning: `strength` says how far a picture may go",
        examples=["low"],
    )


class ImageVariation(Img2ImgBody, ImagesBody):
    """Pictures from a picture, as like it as `strength` says."""

    prompt: str = Field("", description="What they are to be like, if that is to be said")


class PictureReference(Body):
    """Where a picture is: within the request."""

    image_url: str | None = Field(
        None,
        description="`data:image/png;base64,...`: a PNG, JPEG or WebP. The service fetches "
        "nothing: other URLs are refused",
    )
    file_id: str | None = Field(None, description="Refused: there are no files to refer to")


class ImageEditReferences(ImageEdit):
    """Likewise, with the pictures in the JSON."""

    example: ClassVar[dict[str, Any]] = {
        **ImageEdit.example,
        "images": [
            {
                # 8 x 8 pixels, red.
                "image_url": "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSnc"
                "AAAAEklEQVR4nGP8z4AdMOEQH6QSAM1BAQ/oQeJvAAAAAElFTkSuQmCC"
            }
        ],
    }

    images: Annotated[
        list[PictureReference], Field(min_length=1, max_length=_MAX_PICTURES, fail_fast=True)
    ] = Field(description="The input picture: one, as a picture has one beginning")
    mask: PictureReference | None = Field(
        None,
        description="The mask, of the same size: what is transparent is edited",
    )

    @classmethod
    def known_fields(cls) -> dict[str, list[str]]:
        reference = list(PictureReference.model_fields)
        return {**super().known_fields(), "images": reference, "mask": reference}


def _invalid(message: str, field: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_REQUEST, message, field=field)
