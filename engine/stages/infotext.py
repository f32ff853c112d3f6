"""A picture's parameters as text, in the convention of the AUTOMATIC1111 web UI.

Two or three lines: the prompt, ``Negative prompt: ...`` where there is one, and a line of
``Key: value`` pairs (``Steps``, ``Sampler``, ``CFG scale``, ``Seed``, ``Size``, ``Model``,
``Denoising strength``, ``Refiner``, ``Refiner switch at``), as that project writes them. There are
further keys: ``Guidance interval`` has ``guidance_start`` and ``guidance_end``, as ``0.1-0.6``,
unless they are 0 and 1; ``LoRAs`` those that ``Model`` does not stand for, as ``name:scale, ...``,
in quotes as there for such values; ``Screening`` the checks that found something in the picture.
What only some models take has the name of its field with spaces, where it is not the default.

The prompts are written so that no reader takes a part of one for another key, and with no control
character but line breaks. Where that makes a difference, ``Exact prompt`` and ``Exact negative
prompt`` have them as they were sent, as JSON strings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import get_args

from contract.request import GenerationRequest
from models.architectures import RequestField

_LINE_BREAKS = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# PNG forbids NUL in a text, and advises against the others.
_CONTROL_CHARACTERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")
# Readers look for these anywhere. To the tokenizer a space before a colon makes no difference.
_KEYS = re.compile("(Negative prompt|Steps):")
# Readers cut the last line at commas and colons, within quotes too.
_UNSAFE_IN_JSON = re.compile("[,:\x7f-\x9f\u2028\u2029]")


def to_text(
    request: GenerationRequest,
    screening: Sequence[str] = (),
    changes: Mapping[str, object] | None = None,
) -> str:
    """Write down all that is needed to make the picture again (given the init image, if any).

    Args:
        request: what was wanted.
        screening: the checks that found something in the picture.
        changes: values of the last line, in place of those that it has, or beside them; without
            commas and colons.
    """
    settings: dict[str, object] = {
        "Steps": request.num_inference_steps,
        "Sampler": request.scheduler,
        "CFG scale": request.guidance_scale,
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Model": request.served_as,
        **(changes or {}),
    }
    interval = (request.guidance_start, request.guidance_end)
    if interval != (0, 1):
        settings["Guidance interval"] = "{:g}-{:g}".format(*interval)
    settings |= _of_some_models(request)
    if request.strength is not None:
        settings["Denoising strength"] = request.strength
    if request.further_loras:
        settings["LoRAs"] = json.dumps(", ".join(map(str, request.further_loras)))
    if screening:
        settings["Screening"] = json.dumps(", ".join(screening))
    exact_negative = request.negative_prompt or ""
    prompt, negative_prompt = _plain(request.prompt), _plain(exact_negative)
    if prompt != request.prompt:
        settings["Exact prompt"] = _quoted(request.prompt)
    if negative_prompt != exact_negative:
        settings["Exact negative prompt"] = _quoted(exact_negative)
    lines = [prompt]
    if negative_prompt:
        lines.append(f"Negative prompt: {negative_prompt}")
    lines.append(", ".join(f"{key}: {value}" for key, value in settings.items()))
    return "\n".join(lines)


def _plain(prompt: str) -> str:
    """A prompt without control characters and without what a reader would take for a key."""
    lines = _LINE_BREAKS.sub("\n", prompt)
    return _KEYS.sub(r"\1 :", _CONTROL_CHARACTERS.sub(" ", lines))


def _quoted(text: str) -> str:
    """A JSON string of printable characters, without commas and colons."""
    written = json.dumps(text, ensure_ascii=False)
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", written)


def _of_some_models(request: GenerationRequest) -> dict[str, object]:
    """What only some models take, as far as it was given."""
    settings: dict[str, object] = {}
    for field in fields(request):
        value = getattr(request, field.name)
        if field.name in get_args(RequestField) and value != field.default:
            if isinstance(value, str):
                value = _quoted(value)
            elif field.name == "skip_layers":
                value = json.dumps(", ".join(map(str, value)))
            elif isinstance(value, tuple):
                value = "x".join(map(str, value))
            settings[field.name.replace("_", " ").capitalize()] = value
    for segment in request.segments[1:]:
        settings |= {"Refiner": segment.model, "Refiner switch at": segment.start}
    return settings
