"""The first picture of a model, from which the engine learns whether it works, and how fast."""

from __future__ import annotations

from dataclasses import replace

from contract.request import GenerationRequest
from models.catalog import ModelEntry


def first_request(
    entry: ModelEntry, width: int | None = None, height: int | None = None
) -> GenerationRequest:
    """A picture of the model's default guidance, and size unless one is given, in as few steps as
    possible."""
    defaults = entry.defaults
    width, height = width or defaults.width, height or defaults.height
    request = GenerationRequest(
        request_id=f"warm-up-{entry.name}",
        model=entry.name,
        prompt="a red apple",
        width=width,
        height=height,
        num_inference_steps=2,
        guidance_scale=defaults.guidance_scale,
        scheduler=defaults.scheduler,
        seed=0,
    )
    if "txt2img" in entry.tasks:
        return request
    grey = replace(request, init_image=bytes([128]) * 3 * width * height, strength=1.0)
    return grey if "img2img" in entry.tasks else replace(grey, mask=bytes([255]) * width * height)
