"""A device of known speed, which a scheduler has the use of."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from engine.job import Job
from engine.limits import BatchLimits
from engine.plan import Plan, Stage
from engine.scheduler import Scheduler
from tests.unit.engine.jobs import Weights, prepare, waiting

BOUND = 0.5
SMALL: dict[str, Any] = {"tenant": "small", "num_inference_steps": 10}
NATIVE = 64 * 64


def seconds_of(plan: Plan) -> float:
    """What a plan takes: rows of small pictures are cheaper together, those of large ones not."""
    pixels = plan.jobs[0].pixels
    match plan.stage:
        case Stage.DENOISE:
            return 0.010 + 0.002 * plan.rows * math.pow(pixels / NATIVE, 1.3)
        case Stage.ENCODE:
            return 0.003 * len(plan.jobs) + 0.003 * plan.pixels / NATIVE
        case Stage.DECODE:
            return 0.002 + 0.006 * plan.pixels / NATIVE


def seconds_by_rows(plan: Plan) -> float:
    """The same, but that rows are no cheaper together."""
    return 0.007 * plan.rows if plan.stage is Stage.DENOISE else seconds_of(plan)


@dataclass
class Device:
    """Carries out what a scheduler wants, in a time of its own."""

    scheduler: Scheduler
    seconds: Callable[[Plan], float] = seconds_of
    now: float = 0.0
    longest: float = 0.0

    def __post_init__(self) -> None:
        self.plans: list[Plan] = []
        self.done: dict[Job, float] = {}

    def turn(self) -> bool:
        plan = self.scheduler.next()
        if plan is None:
            return False
        seconds = self.seconds(plan)
        self.now += seconds
        self.longest = max(self.longest, seconds)
        self.plans.append(plan)
        if plan.stage is Stage.ENCODE:
            self.scheduler.admitted([prepare(job) for job in plan.jobs])
        elif plan.stage is Stage.DENOISE:
            for job in plan.jobs:
                job.denoising.index += 1
                job.served_at = self.now
                self.scheduler.advanced(job)
        else:
            self.scheduler.remove(plan.jobs)
            self.done |= dict.fromkeys(plan.jobs, self.now)
        self.scheduler.took(plan, seconds)
        return True

    def run(self, arrivals: list[tuple[float, list[Job]]], until: Callable[[], bool]) -> None:
        """Until a condition holds; jobs come at their times."""
        coming = [(time, number, jobs) for number, (time, jobs) in enumerate(arrivals)]
        heapq.heapify(coming)
        while not until():
            while coming and coming[0][0] <= self.now:
                self.scheduler.add(heapq.heappop(coming)[2])
            if not self.turn():
                # Time passes.
                self.now = coming[0][0] if coming else self.now + 0.1


def device(seconds: Callable[[Plan], float] = seconds_of) -> Device:
    return Device(Scheduler(BatchLimits(seconds=BOUND), Weights()), seconds)


def alone(seconds: Callable[[Plan], float] = seconds_of) -> float:
    """Seconds of a small picture that has the device to itself."""
    quiet = device(seconds)
    job = waiting(**SMALL)
    quiet.run([(0.0, [job])], lambda: job in quiet.done)
    return quiet.now


def shares(plans: Iterable[Plan], seconds: Callable[[Plan], float]) -> dict[str, float]:
    """The time that each tenant has had of plans that they may share."""
    had: dict[str, float] = defaultdict(float)
    for plan in plans:
        for job, share in zip(plan.jobs, plan.shares, strict=True):
            had[job.tenant] += seconds(plan) * share / sum(plan.shares)
    return had
