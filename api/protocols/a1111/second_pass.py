"""The second pass of ``enable_hr``: the picture is enlarged, and denoised again in that size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from api.errors import out_of_range
from api.parameters import GenerationParameters
from api.protocols.a1111 import samplers
from api.protocols.a1111.parameters import NAMES, named, understood_prompt
from api.protocols.a1111.schemas import DENOISING_STRENGTH, WebUITxt2Img
from contract.errors import ErrorCode, RequestError
from contract.request import GenerationRequest
from settings import Settings

UPSCALER: Final = "Lanczos"
_SCALE: Final = 2.0
SECOND_NAMES: Final[Mapping[str, str]] = {
    **NAMES,
    "prompt": "hr_prompt",
    "negative_prompt": "hr_negative_prompt",
    "width": "hr_resize_x",
    "height": "hr_resize_y",
    "num_inference_steps": "hr_second_pass_steps",
    "scheduler": "hr_sampler_name",
    "model": "hr_checkpoint_name",
}


@dataclass(frozen=True, slots=True)
class SecondPass:
    """A second pass.

    Attributes:
        parameters: for one picture, which is missing, as its seed is.
        notes: what had no effect.
        changes: what the pictures' texts say of it.
    """

    parameters: GenerationParameters
    notes: tuple[str, ...]
    changes: Mapping[str, object]


def second_pass(
    body: WebUITxt2Img,
    first: GenerationParameters,
    wanted: GenerationRequest,
    multiple_of: int,
    settings: Settings,
) -> SecondPass:
    """The second pass of a request.

    Args:
        body: its fields.
        first: what is asked for in the first pass.
        wanted: the same, as it will be done.
        multiple_of: what its sides must divide by.
        settings: the limits.

    Raises:
        RequestError: a field is at fault.
    """
    notes: list[str] = []
    upscaler = named(body.hr_upscaler)
    if upscaler != UPSCALER:
        notes.append(f"hr_upscaler: {UPSCALER} is what there is")
    prompt, negative = first.prompt, first.negative_prompt
    loras = first.loras
    if body.hr_prompt:
        understood = understood_prompt("hr_prompt", body.hr_prompt, settings)
        prompt, loras = understood.text, () if body.disable_extra_networks else understood.loras
        notes += [f"hr_prompt: {note}" for note in understood.notes]
    if body.hr_negative_prompt:
        understood = understood_prompt(
            "hr_negative_prompt", body.hr_negative_prompt, settings, networks=False
        )
        negative = understood.text
        notes += [f"hr_negative_prompt: {note}" for note in understood.notes]
    width, height, said = _size(body, wanted, multiple_of)
    strength = DENOISING_STRENGTH if body.denoising_strength is None else body.denoising_strength
    parameters = replace(
        first,
        task="img2img",
        prompt=prompt,
        negative_prompt=negative,
        loras=loras,
        model=_same(body.hr_checkpoint_name) or first.model,
        scheduler=_scheduler(body, first, notes),
        width=width,
        height=height,
        num_inference_steps=_steps(body, wanted, strength, settings.max_steps),
        strength=strength,
        num_images=1,
        fit="crop",
        refiner=None,
    )
    return SecondPass(parameters, tuple(notes), {**said, "Hires upscaler": UPSCALER})


def _size(
    body: WebUITxt2Img, wanted: GenerationRequest, multiple_of: int
) -> tuple[int, int, dict[str, object]]:
    """Width and height, and what is said of them."""
    across, down = (max(0, side or 0) for side in (body.hr_resize_x, body.hr_resize_y))
    if across or down:
        # In integers: a client may send any number.
        width = across or down * wanted.width // wanted.height
        height = down or across * wanted.height // wanted.width
        return width, height, {"Hires resize": f"{width}x{height}"}
    scale = _SCALE if body.hr_scale is None else body.hr_scale
    if not 1 <= scale <= 16:
        raise RequestError(
            ErrorCode.OUT_OF_RANGE,
            f"hr_scale must be at least 1 and at most 16, got {scale:g}",
            field="hr_scale",
        )
    width, height = (
        int(side * scale) // multiple_of * multiple_of for side in (wanted.width, wanted.height)
    )
    return width, height, {"Hires upscale": f"{scale:g}"}


def _steps(body: WebUITxt2Img, wanted: GenerationRequest, strength: float, most: int) -> int:
    """The length of the schedule of which a share, ``strength``, is run."""
    run = body.hr_second_pass_steps
    if not run or strength <= 0:
        return wanted.num_inference_steps
    share = min(1.0, strength)
    if not 0 < run <= share * most:
        limit = f"above 0 and at most {share * most:g} with a denoising_strength of {strength:g}"
        raise out_of_range("hr_second_pass_steps", limit, run)
    return max(run, round(run / share))


def _scheduler(body: WebUITxt2Img, first: GenerationParameters, notes: list[str]) -> str | None:
    if _same(body.hr_sampler_name) is None and _same(body.hr_scheduler) is None:
        return first.scheduler
    chosen = samplers.choose(
        _same(body.hr_sampler_name) or body.sampler_name or body.sampler_index,
        _same(body.hr_scheduler) or body.scheduler,
        ("hr_sampler_name", "hr_scheduler"),
    )
    if chosen.ignored:
        notes.append(f"hr_scheduler: {chosen.ignored}")
    return chosen.scheduler


def _same(name: str | None) -> str | None:
    """A name, or None where it stands for that of the first pass."""
    return None if name is None or name.startswith("Use same") else named(name)
