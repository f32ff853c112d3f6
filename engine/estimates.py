"""The estimates of the scheduler: what work is going to take, and which deadlines it leaves."""

from __future__ import annotations

from typing import TypeAlias

from engine.cost import CostEstimate
from engine.job import Job

# A job has no time to spare when it has less than so many of the longest passes.
URGENT_PASSES = 3

Group: TypeAlias = tuple[str, int, int]


def group(job: Job) -> Group:
    """Model, width and height: jobs whose passes take about the same."""
    return job.model, job.request.width, job.request.height


def has_picture(job: Job) -> bool:
    """Whether a given picture is to be encoded for the current segment."""
    return job.request.init_image is not None and job.handover is None


class Estimates:
    """Learns what the stages take.

    Attributes:
        step: a unit is a pass of any kind.
        decode: a unit is a pixel.
    """

    def __init__(self) -> None:
        self.step = CostEstimate()
        self.decode = CostEstimate()
        self._steps: dict[Group, CostEstimate] = {}
        self._text = CostEstimate()  # a unit is a job without a picture
        self._image = CostEstimate()  # a unit is a pixel of a given picture

    def denoised(self, job: Job, seconds: float) -> None:
        """A pass for jobs like this one took so long."""
        self.step.record(1, seconds)
        self._steps.setdefault(group(job), CostEstimate()).record(1, seconds)

    def encoded(self, jobs: int, pixels: int, seconds: float) -> None:
        """Jobs with so many pixels of given pictures were prepared."""
        if pixels:
            self._image.record(pixels, seconds)
        else:
            self._text.record(jobs, seconds)

    def encoding(self, job: Job) -> float | None:
        """Seconds that preparing a job is going to take; None if that is not known yet."""
        if has_picture(job):
            return self._image.estimate(job.pixels)
        return self._text.estimate(1)

    def slack(self, job: Job) -> float:
        """Seconds that a job can spare until its deadline if it is in every pass from now on."""
        cost = self._steps.get(group(job), self.step)
        needed = cost.estimate(_steps_left(job)) or 0.0
        return job.seconds_left - needed - (self.decode.estimate(job.pixels) or 0.0)

    def urgent(self, job: Job) -> bool:
        """Whether a job makes its deadline if it goes first, and misses it if it waits."""
        longest = max((cost.seconds_per_unit or 0.0 for cost in self._steps.values()), default=0.0)
        return 0 <= self.slack(job) < URGENT_PASSES * longest

    def hopeless(self, job: Job) -> bool:
        """Whether a job misses its deadline even if it is in every pass, and each is the fastest
        that there ever was."""
        cost = self._steps.get(group(job))
        return cost is not None and job.seconds_left < _steps_left(job) * cost.least


def _steps_left(job: Job) -> int:
    """Denoiser evaluations that are left, at least."""
    if job.state is not None:
        return job.state.total - job.state.index + job.steps_ahead
    share = job.segment.end - job.segment.start
    if job.handover is None and job.request.strength is not None:
        share *= job.request.strength
    return int(share * job.request.num_inference_steps) + job.steps_ahead
