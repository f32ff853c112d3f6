"""Which jobs share the next denoiser pass, and how many rows it gets."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from engine.job import Job

# Steps of a quarter to a half: few enough to compile or capture each, and little padding.
BUCKETS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)

PIXELS = 2 * 1024 * 1024  # eight rows of 512 x 512


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
    pixels: int = PIXELS
    buckets: tuple[int, ...] = ()
    invariant: bool = False

    def capacity(self, pixels: int) -> int:
        """Rows of a pass over pictures of this many pixels, >= 1."""
        # In invariant mode a job with guidance has to fit into the one bucket.
        return max(2 if self.invariant else 1, min(self.rows, self.pixels // pixels))

    def padded(self, rows: int, pixels: int) -> int:
        """Rows of the batch that ``rows`` rows in use are padded to."""
        capacity = self.capacity(pixels)
        if self.invariant:
            return capacity
        bucket = next((size for size in self.buckets if size >= rows), rows)
        return max(rows, min(bucket, capacity))


def kind(job: Job) -> Hashable:
    """Jobs of one kind can share a pass."""
    return job.request.model, job.denoising.shape_key


def pick(jobs: Sequence[Job], limits: BatchLimits) -> list[Job]:
    """The job served longest ago, which may exceed the limits, and those of its kind that were
    served longest ago and fit into a pass with it."""
    by_age = sorted(jobs, key=lambda job: job.served_at)
    batch = by_age[:1]
    if not batch:
        return []
    room = limits.capacity(batch[0].pixels) - batch[0].denoising.rows
    for job in by_age[1:]:
        if kind(job) == kind(batch[0]) and job.denoising.rows <= room:
            batch.append(job)
            room -= job.denoising.rows
    return batch


class FairQueue:
    """Whose turn it is: each kind of jobs gets the same time, so that large pictures, with their
    long passes, do not keep small ones waiting, nor the other way round."""

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = {}  # had by each kind that has jobs
        self._now = 0.0

    def pick(self, jobs: Sequence[Job], limits: BatchLimits) -> list[Job]:
        """The jobs of the next pass: of the kind that has had the least time."""
        kinds = {kind(job) for job in jobs}
        # Who comes new has no claim on the time before.
        self._seconds = {each: self._seconds.get(each, self._now) for each in kinds}
        if not kinds:
            return []
        first = min(self._seconds, key=lambda each: self._seconds[each])
        self._now = self._seconds[first]
        return pick([job for job in jobs if kind(job) == first], limits)

    def took(self, lead: Hashable, seconds: float) -> None:
        """A pass for jobs of the kind ``lead`` took so long."""
        self._seconds[lead] = self._now + seconds
