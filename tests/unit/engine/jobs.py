"""Jobs for the scheduler, in any state, without a model."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from engine.denoising.conditioning import Conditioning
from engine.denoising.guidance import Guidance
from engine.denoising.noise_schedule import NoiseSchedule
from engine.denoising.state import DenoisingState
from engine.job import Job
from engine.plan import Plan, Stage
from engine.scheduler import Scheduler
from tests.conftest import make_request


def waiting(**changes: Any) -> Job:
    """A job that was submitted just now."""
    return Job(make_request(**changes), 0, lambda event: None)


def prepare(job: Job, *, mixed_sizes: bool = False) -> Job:
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
        mixed_sizes=mixed_sizes,
    )
    return job


class Weights:
    """Everything is in memory, but for some models."""

    def __init__(self, missing: Collection[str] = ()) -> None:
        self.missing = missing
        self.broken: set[Job] = set()

    def ready(self, job: Job) -> bool:
        if job in self.broken:
            raise OSError("a file of its LoRA is gone")
        return job.model not in self.missing


def running(scheduler: Scheduler, *jobs: Job, mixed_sizes: bool = False) -> list[Job]:
    """Jobs that were admitted one after the other."""
    for moment, job in enumerate(jobs):
        scheduler.add([job])
        job.served_at = moment
        scheduler.admitted([prepare(job, mixed_sizes=mixed_sizes)])
    return list(jobs)


def carry_out(scheduler: Scheduler, seconds: float = 0.1) -> Plan:
    """Do what is next, as the loop does."""
    plan = scheduler.next()
    assert plan is not None
    match plan.stage:
        case Stage.ENCODE:
            scheduler.admitted([prepare(job) for job in plan.jobs])
        case Stage.DENOISE:
            for job in plan.jobs:
                job.denoising.index += 1
                job.served_at = max(each.served_at for each in scheduler.running) + 1
                scheduler.advanced(job)
        case Stage.DECODE:
            scheduler.remove(plan.jobs)
    scheduler.took(plan, seconds)
    return plan
