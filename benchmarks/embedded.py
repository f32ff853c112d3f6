"""The service's engine over the embedded model, in this process."""

from __future__ import annotations

# ruff: noqa: E402
# Before torch is imported.
from runners import environment

environment.prepare()

from io import BytesIO

import PIL.Image

from benchmarks.workloads import Request
from engine.engine import Engine
from engine.precision import place
from engine.request import GenerationRequest
from models.catalog import load_catalog
from runners.build import build_engine
from settings import Settings


def build() -> Engine:
    """The engine as the service builds it with the settings of the environment."""
    settings = Settings()
    entry = load_catalog(None).get("embedded")
    return build_engine(settings, (entry,), place(settings.device, settings.precision))


def generation_request(request: Request) -> GenerationRequest:
    """The engine's form of a request of the workloads."""
    image = None
    if request.strength is not None:
        image = PIL.Image.open(BytesIO(request.picture())).tobytes()
    return GenerationRequest(
        request_id=f"bench-{request.number}",
        model="embedded",
        prompt=request.prompt,
        width=request.side,
        height=request.side,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance,
        scheduler=request.scheduler,
        seed=request.seed,
        strength=request.strength,
        init_image=image,
    )
