"""Jobs for the scheduler, in any state, without a model."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from engine.denoising.conditioning import Conditioning
from engine.denoising.guidance import Guidance
from engine.denoising.noise_schedule import NoiseSchedule
from engine.denoising.state import DenoisingState
from engine.job import Job
from tests.conftest import make_request


def waiting(**changes: Any) -> Job:
    """A job that was submitted just now."""
    return Job(make_request(**changes), 0, lambda event: None)


def prepare(job: Job) -> Job:
    """Give a job what the encode stage gives it."""
    request = job.request
    rows = 2 if request.guidance_scale > 1 else 1
    job.state = DenoisingState(
        latents=torch.zeros(1, 4, request.height // 4, request.width // 4),
        conditioning=Conditioning({"encoder_hidden_states": torch.zeros(rows, 77, 8)}),
        guidance=Guidance(request.guidance_scale, request.guidance_start, request.guidance_end),
        schedule=NoiseSchedule(
            DDIMScheduler(), request.num_inference_steps, torch.Generator(), segment=job.segment
        ),
    )
    return job
