"""Parameters of each task."""

from __future__ import annotations

from typing import Any

from api.parameters import GenerationParameters


def txt2img(**fields: Any) -> GenerationParameters:
    return GenerationParameters(task="txt2img", **fields)


def img2img(picture: bytes, **fields: Any) -> GenerationParameters:
    return GenerationParameters(task="img2img", init_image=picture, **fields)


def inpaint(picture: bytes, mask: bytes, **fields: Any) -> GenerationParameters:
    return GenerationParameters(task="inpaint", init_image=picture, mask=mask, **fields)
