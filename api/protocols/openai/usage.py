"""The usage numbers: a measure of what went in and came out, in tokens of our own.

OpenAI counts what its models see. Here a text's tokens are its words and signs, before a tokenizer
cuts them up, and a picture's are its squares of 16 x 16 pixels: 4,096 of 1024 x 1024.
"""

from __future__ import annotations

import math
import re
from typing import Final, Self

from pydantic import BaseModel, Field

from contract.request import GenerationRequest

_WORD = re.compile(r"\w+|[^\w\s]")
_SIDE: Final = 16


class InputTokens(BaseModel):
    """What the input is made of."""

    image_tokens: int = Field(
        description="Squares of 16 x 16 pixels of the input picture, once it is resized"
    )
    text_tokens: int = Field(description="Words and signs of the prompts, the negative ones too")


class Usage(BaseModel):
    """How much went in and came out."""

    input_tokens: int
    input_tokens_details: InputTokens
    output_tokens: int = Field(description="Squares of 16 x 16 pixels of the pictures")
    total_tokens: int

    @classmethod
    def of(cls, wanted: GenerationRequest, pictures: int) -> Self:
        """Of so many pictures of a request, which share its input."""
        squares = math.ceil(wanted.width / _SIDE) * math.ceil(wanted.height / _SIDE)
        prompts = [*(wanted.prompts or (wanted.prompt,)), wanted.negative_prompt or ""]
        text = sum(len(_WORD.findall(prompt)) for prompt in prompts)
        image = 0 if wanted.init_image is None else squares
        output = squares * pictures
        return cls(
            input_tokens=text + image,
            input_tokens_details=InputTokens(image_tokens=image, text_tokens=text),
            output_tokens=output,
            total_tokens=text + image + output,
        )
