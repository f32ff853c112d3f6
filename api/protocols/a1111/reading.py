"""From the parameters in a picture's file to the fields of a native request that makes it again.

Files of ours have prompts in our syntax where the sampler has one of our names, as those of the
native protocol do. All others are the web UI's, or ours in its words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from api.errors import shown
from api.protocols.a1111 import prompts, samplers
from api.protocols.a1111.leftovers import bounded
from contract.errors import RequestError
from models.architectures import SCHEDULERS, RequestField

_WHOLE = re.compile("[0-9]{1,16}")
_INTERVAL = re.compile(r"([0-9.]{1,20})-([0-9.]{1,20})")
_LORA = re.compile(r"([^:,\s]{1,256}):([-0-9.e]{1,20})")
# What says nothing of how the picture is to be made.
_SAYS_NOTHING: Final = frozenset(
    {"Version", "Model hash", "VAE hash", "Lora hashes", "TI hashes", "Hashes", "User", "Screening"}
)
_PROMPTS: Final = {"Prompt": "prompt", "Negative prompt": "negative_prompt"}
_READ_APART: Final = frozenset({*_PROMPTS, "Sampler", "Schedule type", "LoRAs"})


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read.

    Attributes:
        request: fields of ``POST /txt2img``, and ``strength`` of a picture made from another one;
            not checked against the limits.
        notes: what is not in it, a sentence each.
    """

    request: dict[str, Any]
    notes: tuple[str, ...]


def read(parameters: Mapping[str, str], prompt_chars: int) -> Reading:
    """Read parameters.

    Args:
        parameters: as ``infotext.parse`` gives them; nothing is read from none.
        prompt_chars: characters of the longest prompt that is taken.
    """
    fields: dict[str, Any] = {}
    notes: list[str] = []
    left = {name: value for name, value in parameters.items() if name not in _SAYS_NOTHING}
    _read_prompts(left, fields, notes, prompt_chars)
    _read_scheduler(left, fields, notes)
    for name in _READ_APART:
        left.pop(name, None)
    hires = any(name.startswith("Hires ") for name in left)
    for names, field, of_text in _FIELDS:
        given = [left.pop(name) for name in names if name in left]
        if len(given) < len(names):
            continue
        if field == "strength" and hires:
            notes.append("Denoising strength: that of a second pass, which is not made")
            continue
        value = of_text(*given)
        if value is None:
            notes.append(f"{names[0]}: {shown(given[0])} cannot be read")
        else:
            fields[field] = value
    _divide(fields)
    notes += [f"{name}: nothing here is like it" for name in left]
    return Reading(fields, tuple(bounded(notes)))


def _read_prompts(
    given: Mapping[str, str], fields: dict[str, Any], notes: list[str], longest: int
) -> None:
    ours = given.get("Sampler") in SCHEDULERS
    loras = [
        {"name": match[1], "scale": scale}
        for match in _LORA.finditer(given.get("LoRAs", ""))
        if (scale := _number(match[2])) is not None
    ]
    for name, field in _PROMPTS.items():
        written = given.get(name, "")
        if len(written) > longest:
            notes.append(f"{name}: {longest} characters are the most, it has {len(written)}")
            continue
        if not ours:
            try:
                prompt = prompts.understand(name, written, networks=field == "prompt")
            except RequestError as error:
                notes.append(error.message)
            else:
                written = prompt.text
                loras += [{"name": one.name, "scale": one.scale} for one in prompt.loras]
                notes += [f"{name}: {note}" for note in prompt.notes]
        if written or (field == "prompt" and given):
            fields[field] = written
    if loras:
        fields["loras"] = loras


def _read_scheduler(given: Mapping[str, str], fields: dict[str, Any], notes: list[str]) -> None:
    sampler, schedule = given.get("Sampler"), given.get("Schedule type")
    if sampler in SCHEDULERS:
        fields["scheduler"] = sampler
        return
    for wanted in dict.fromkeys((schedule, None)):
        try:
            choice = samplers.choose(sampler, wanted, ("Sampler", "Schedule type"))
        except RequestError as error:
            notes.append(error.message)
            continue
        if choice.ignored:
            notes.append(f"Schedule type: {choice.ignored}")
        if choice.scheduler is not None:
            fields["scheduler"] = choice.scheduler
        return


def _divide(fields: dict[str, Any]) -> None:
    """Divide what is one value in the file and several fields in the request."""
    interval = fields.pop("guidance_interval", None)
    if interval is not None:
        fields["guidance_start"], fields["guidance_end"] = interval
    model, switch = fields.pop("refiner_model", None), fields.pop("refiner_switch", None)
    if model is not None:
        fields["refiner"] = {"model": model, **({} if switch is None else {"switch_at": switch})}


def _whole(text: str) -> int | None:
    return int(text) if _WHOLE.fullmatch(text) else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _interval(text: str) -> tuple[float, float] | None:
    match = _INTERVAL.fullmatch(text)
    ends = [] if match is None else [_number(end) for end in match.groups()]
    return (ends[0], ends[1]) if ends and None not in ends else None  # type: ignore[return-value]


def _wholes(*texts: str) -> list[int] | None:
    found = [_whole(text.strip()) for text in ",".join(texts).split(",")]
    return None if None in found else found  # type: ignore[return-value]


def _text(text: str) -> str:
    return text


def _of_some_models() -> Iterator[tuple[tuple[str, ...], str, Callable[..., Any]]]:
    for field in get_args(RequestField):
        name = field.replace("_", " ").capitalize()
        if field in {"original_size", "crop"}:
            yield (f"{name}-1", f"{name}-2"), field, _wholes
        elif field == "skip_layers":
            yield (name,), field, _wholes
        elif "prompt" in field:
            yield (name,), field, _text
        elif field != "refiner":
            yield (name,), field, _number


# The names in the file, the field, and what makes its value of theirs: None where it cannot.
_FIELDS: Final[tuple[tuple[tuple[str, ...], str, Callable[..., Any]], ...]] = (
    (("Steps",), "num_inference_steps", _whole),
    (("CFG scale",), "guidance_scale", _number),
    (("Seed",), "seed", _whole),
    (("Size-1",), "width", _whole),
    (("Size-2",), "height", _whole),
    (("Model",), "model", _text),
    (("Denoising strength",), "strength", _number),
    (("Guidance interval",), "guidance_interval", _interval),
    (("Refiner",), "refiner_model", _text),
    (("Refiner switch at",), "refiner_switch", _number),
    *_of_some_models(),
)
