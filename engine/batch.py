"""Which jobs share the next denoiser pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.job import Job


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of one pass.

    Attributes:
        rows: rows of the batch, >= 2; a job with guidance fills two.
        pixels: rows x picture pixels; a single job may exceed it, as it could never run
            otherwise.
    """

    rows: int = 16
    pixels: int = 8 * 1024 * 1024


def pick(jobs: Sequence[Job], limits: BatchLimits) -> list[Job]:
    """Choose the jobs of the next pass.

    The job served longest ago leads, and those that can share its pass follow in the same
    order while the limits allow. So every job, whatever its shape, comes to lead in its turn.
    """
    if not jobs:
        return []
    by_age = sorted(jobs, key=lambda job: job.served_at)
    lead = by_age[0]
    batch: list[Job] = []
    rows = 0
    pixels = lead.request.width * lead.request.height
    for job in by_age:
        if job.request.model != lead.request.model:
            continue
        if job.denoising.shape_key != lead.denoising.shape_key:
            continue
        rows += job.denoising.rows
        if batch and (rows > limits.rows or rows * pixels > limits.pixels):
            break
        batch.append(job)
    return batch
