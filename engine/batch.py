"""Which jobs share the next denoiser pass, and how many rows it gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.job import Job

# Steps of a quarter to a half: few enough to compile or capture each, and little padding.
BUCKETS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of one pass.

    Attributes:
        rows: rows of the batch, >= 2; a job with guidance fills two.
        pixels: rows x picture pixels; a single job may exceed it, as it could never run
            otherwise.
        buckets: the numbers of rows that passes are padded to, ascending; empty for no padding.
        invariant: pad every pass of a size to the same number of rows, so that the kernels see
            one shape and a picture is bit-identical whoever shares its passes.
    """

    rows: int = 32
    pixels: int = 2 * 1024 * 1024
    buckets: tuple[int, ...] = ()
    invariant: bool = False

    def capacity(self, pixels: int) -> int:
        """Rows of a pass over pictures of this many pixels, >= 2."""
        return max(2, min(self.rows, self.pixels // pixels))

    def padded(self, rows: int, pixels: int) -> int:
        """Rows of the batch that ``rows`` <= ``capacity`` rows in use are padded to."""
        capacity = self.capacity(pixels)
        if self.invariant:
            return capacity
        bucket = next((size for size in self.buckets if size >= rows), rows)
        return min(bucket, capacity)


def pick(jobs: Sequence[Job], limits: BatchLimits) -> list[Job]:
    """Choose the jobs of the next pass.

    The job served longest ago leads, and those that can share its pass follow in the same
    order while the limits allow. So every job, whatever its shape, comes to lead in its turn.
    """
    if not jobs:
        return []
    by_age = sorted(jobs, key=lambda job: job.served_at)
    lead = by_age[0]
    room = limits.capacity(lead.pixels)
    batch: list[Job] = []
    for job in by_age:
        if job.request.model != lead.request.model:
            continue
        if job.denoising.shape_key != lead.denoising.shape_key:
            continue
        if job.denoising.rows <= room:
            batch.append(job)
            room -= job.denoising.rows
    return batch
