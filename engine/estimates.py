"""The estimates of the scheduler: what work is going to take, and which deadlines it leaves."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from engine.cost import CostEstimate
from engine.job import Job, SizeClass
from engine.plan import SizeRows

# Of others, that a job has to be able to wait for.
URGENT_PASSES = 3
REMEMBERED = 64  # size classes: clients choose the sizes
# With each pass: so full passes say nothing of a row some hundred passes later.
CHEAPEST_RISES = 1.01
COUNTED_AT_LEAST = 0.25  # of what a pass took


class _PassCost:
    """What the passes of a size class take, and a row of them at least.

    Attributes:
        cheapest: seconds of a row in the passes in which rows took the least lately.
    """

    def __init__(self) -> None:
        self.whole = CostEstimate()
        self.row = CostEstimate()
        self.cheapest = math.inf

    def record(self, rows: int, seconds: float, whole: float) -> None:
        """``rows`` rows took ``seconds`` of a pass that took ``whole``."""
        self.whole.record(1, whole)
        self.row.record(rows, seconds)
        self.cheapest = min(seconds / rows, self.cheapest * CHEAPEST_RISES)


class Estimates:
    """Learns what the stages take.

    Attributes:
        step: a unit is a pass of any kind.
        decode: a unit is a pixel.
    """

    def __init__(self) -> None:
        self.step = CostEstimate()
        self.decode = CostEstimate()
        self._passes: OrderedDict[SizeClass, _PassCost] = OrderedDict()
        self._text = CostEstimate()  # a unit is a job without a picture
        self._image = CostEstimate()  # a unit is a pixel of a given picture

    def denoised(self, sizes: Sequence[SizeRows], rows: int, seconds: float) -> None:
        """A pass of so many rows, padding included, took so long."""
        self.step.record(1, seconds)
        padding = rows - sum(size.rows for size in sizes)
        work = sum(size.rows * size.weight for size in sizes)
        for size in sizes:
            cost = self._passes.setdefault(size.size_class, _PassCost())
            # Of several sizes each has its part of the time; there is padding with one only.
            own = seconds * size.rows * size.weight / work
            cost.record(size.rows + padding, own, seconds)
            self._passes.move_to_end(size.size_class)
        while len(self._passes) > REMEMBERED:
            self._passes.popitem(last=False)

    def counted(self, sizes: Iterable[SizeRows], seconds: float) -> float:
        """Seconds that a pass counts, to whoever was in it, after it took so long.

        Rows are cheaper together. By its time, a pass of few rows would count like many times
        those rows in a full one, and who has full ones would have most of the work done. So rows
        count as what they took in the passes in which they were cheapest (service in units of
        work, Sheng et al. 2024, https://arxiv.org/abs/2401.00588); within bounds, as the time is
        what there is to share.
        """
        costs = ((size.rows, self._passes.get(size.size_class)) for size in sizes)
        work = sum(rows * cost.cheapest for rows, cost in costs if cost is not None)
        return min(seconds, max(COUNTED_AT_LEAST * seconds, work))

    def weight(self, job: Job, other: Job) -> float:
        """What a row of a job takes against one of another: as lately; else as their pixels."""
        costs = [self._passes.get(each.size_class) for each in (job, other)]
        seconds = [cost.row.seconds_per_unit if cost else None for cost in costs]
        if seconds[0] and seconds[1]:
            return seconds[0] / seconds[1]
        return job.pixels / other.pixels

    def encoded(self, jobs: int, pixels: int, seconds: float) -> None:
        """Jobs with so many pixels of given pictures were prepared."""
        if pixels:
            self._image.record(pixels, seconds)
        else:
            self._text.record(jobs, seconds)

    def encoding(self, job: Job) -> float | None:
        """Seconds that preparing a job is going to take; None if that is not known yet."""
        if job.has_picture:
            return self._image.estimate(job.pixels)
        return self._text.estimate(1)

    def rows_within(self, size_class: SizeClass, seconds: float) -> int | None:
        """Rows of a pass that takes so long; None if that is not known yet."""
        cost = self._passes.get(size_class)
        return None if cost is None else cost.row.affordable(seconds)

    def longest_pass(self, jobs: Iterable[Job]) -> float:
        """Seconds of the longest pass for any of these jobs."""
        classes = {job.size_class for job in jobs}
        return max((self._pass_seconds(each) for each in classes), default=0.0)

    def slack(self, job: Job) -> float:
        """Seconds that a job can spare until its deadline if it is in every pass from now on."""
        needed = sum(steps * self._pass_seconds(each) for each, steps in _steps_left(job))
        return job.seconds_left - needed - (self.decode.estimate(job.pixels) or 0.0)

    def urgent(self, job: Job, longest_pass: float) -> bool:
        """Whether a job makes its deadline if it goes first, and misses it if it waits for a few
        passes of others."""
        return 0 <= self.slack(job) < URGENT_PASSES * longest_pass

    def hopeless(self, job: Job) -> bool:
        """Whether a job misses its deadline even if it is in every pass, and each costs no more
        than the cheapest row that there ever was."""
        least = 0.0
        for size_class, steps in _steps_left(job):
            cost = self._passes.get(size_class)
            least += 0.0 if cost is None else steps * cost.row.least
        return job.seconds_left < least

    def _pass_seconds(self, size_class: SizeClass) -> float:
        cost = self._passes.get(size_class)
        estimate = self.step if cost is None else cost.whole
        return estimate.seconds_per_unit or 0.0


def _steps_left(job: Job) -> Iterator[tuple[SizeClass, int]]:
    """Denoiser evaluations that are left, by the size class of their passes; a few may be more."""
    request = job.request
    if job.state is not None:
        yield job.size_class, job.state.total - job.state.index
    begin = 0.0 if request.strength is None else 1 - request.strength
    for segment in job.segments_ahead if job.state is not None else job.segments_left:
        share = segment.end - max(segment.start, begin)
        if share > 0:
            size_class = segment.model, request.width, request.height
            yield size_class, int(share * request.num_inference_steps)
