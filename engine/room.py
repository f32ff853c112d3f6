"""The room of a pass: what jobs of one size or several take of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from engine.job import Job, SizeClass
from engine.plan import SizeRows


@dataclass(slots=True)
class _Size:
    """A size, and the rows of it that are in the pass.

    Attributes:
        capacity: rows of it that fit into a pass of their own.
        weight: of one of them in the work.
    """

    capacity: int
    weight: float
    rows: int = 0


class Room:
    """What is taken of a pass, in rows of the lead.

    A row takes the part that it would take of a pass of its own size. So whatever bounds those,
    be it rows, pixels or time, bounds passes of several sizes too.

    Args:
        lead: the job whose pass it is. It is in it, even if it does not fit.
        capacity: rows that fit into a pass of pictures like that of a job, >= 1.
        weight: of a job's rows in the work, in rows of the lead.
    """

    def __init__(
        self, lead: Job, capacity: Callable[[Job], int], weight: Callable[[Job], float]
    ) -> None:
        self._capacity = capacity
        self._weight = weight
        self._whole = capacity(lead)
        self._taken = 0.0
        self._sizes: dict[tuple[SizeClass, Hashable], _Size] = {}
        self.take(lead)

    def fits(self, job: Job) -> bool:
        return self._taken + self._part(job) <= self._whole

    def take(self, job: Job) -> None:
        """Put a job into the pass."""
        self._taken += self._part(job)
        self._size(job).rows += job.denoising.rows

    def work(self, job: Job) -> float:
        """What a job is of the work, in rows of the lead."""
        return job.denoising.rows * self._size(job).weight

    @property
    def sizes(self) -> tuple[SizeRows, ...]:
        """What is in the pass."""
        return tuple(
            SizeRows(
                size_class,
                shape,
                size.rows,
                size.weight,
                max(1, int(self._taken * size.capacity / self._whole)),
            )
            for (size_class, shape), size in self._sizes.items()
            if size.rows
        )

    def _part(self, job: Job) -> float:
        return job.denoising.rows * self._whole / self._size(job).capacity

    def _size(self, job: Job) -> _Size:
        key = job.size_class, job.picture_shape
        if key not in self._sizes:
            self._sizes[key] = _Size(self._capacity(job), self._weight(job))
        return self._sizes[key]
