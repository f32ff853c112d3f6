"""One request for one picture, valid by construction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class OutputFormat(StrEnum):
    """File formats a picture can be returned in."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def media_type(self) -> str:
        return f"image/{self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """Everything a picture depends on. Whoever builds one has checked the ranges.

    Attributes:
        request_id: name of the request in logs and answers.
        model: catalog name of a served model.
        prompt: what to draw, at most 2,000 characters.
        negative_prompt: what to avoid; empty for nothing.
        width: pixels, a multiple of the model's ``multiple_of``.
        height: pixels, likewise.
        num_inference_steps: length of the full noise schedule, >= 1.
        guidance_scale: classifier-free guidance weight w of Ho & Salimans (2022),
            https://arxiv.org/abs/2207.12598; at 1 or below the negative prompt has no effect.
        scheduler: short name out of ``engine.samplers.SAMPLERS``.
        seed: 0 to 2**53 - 1 (so that it survives a JSON number); always resolved.
        init_image: img2img only: raw RGB bytes, ``height * width * 3``, row by row.
        strength: img2img only: share of the schedule that is run, 0 < strength <= 1 and
            ``int(num_inference_steps * strength) >= 1``.
        output_format: file format of the picture.
        deadline: seconds from submission until the request is given up.
        wants_progress: whether progress events are of use to the client.
    """

    request_id: str
    model: str
    prompt: str
    negative_prompt: str = ""
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    scheduler: str
    seed: int
    init_image: bytes | None = None
    strength: float | None = None
    output_format: OutputFormat = OutputFormat.PNG
    deadline: float = 300.0
    wants_progress: bool = False
