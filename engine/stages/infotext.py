"""A picture's parameters as text, in the convention of the AUTOMATIC1111 web UI.

Two or three lines: the prompt, ``Negative prompt: ...`` where there is one, and a line of
``Key: value`` pairs (``Steps``, ``Sampler``, ``CFG scale``, ``Seed``, ``Size``, ``Model``,
``Denoising strength``, ``Refiner``, ``Refiner switch at``), as that project writes them. There are
additions: ``Guidance interval`` has ``guidance_start`` and ``guidance_end``, as ``0.1-0.6``, unless
they are 0 and 1; ``LoRAs`` those that ``Model`` does not stand for, as ``name:scale, ...``, in
quotes as there for such values; ``Screening`` the checks that found something in the picture. What
only some models take has the name of its field with spaces, where it is not the default.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import get_args

from contract.request import GenerationRequest
from models.architectures import RequestField


def to_text(request: GenerationRequest, screening: Sequence[str] = ()) -> str:
    """Write down all that is needed to make the picture again (given the init image, if any)."""
    settings: dict[str, object] = {
        "Steps": request.num_inference_steps,
        "Sampler": request.scheduler,
        "CFG scale": request.guidance_scale,
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Model": request.served_as,
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
    lines = [request.prompt]
    if request.negative_prompt:
        lines.append(f"Negative prompt: {request.negative_prompt}")
    lines.append(", ".join(f"{key}: {value}" for key, value in settings.items()))
    return "\n".join(lines)


def _of_some_models(request: GenerationRequest) -> dict[str, object]:
    """What only some models take, as far as it was given."""
    settings: dict[str, object] = {}
    for field in fields(request):
        value = getattr(request, field.name)
        if field.name in get_args(RequestField) and value != field.default:
            if isinstance(value, str):
                value = json.dumps(value)
            elif field.name == "skip_layers":
                value = json.dumps(", ".join(map(str, value)))
            elif isinstance(value, tuple):
                value = "x".join(map(str, value))
            settings[field.name.replace("_", " ").capitalize()] = value
    for segment in request.segments[1:]:
        settings |= {"Refiner": segment.model, "Refiner switch at": segment.start}
    return settings
