"""A replica on paper: an engine that gives all of its jobs a step in each pass."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

from benchmarks.simulation.calibration import ServiceTimes
from benchmarks.workloads import Request

_SLACK = 1e-6  # of a step, for what rounding leaves


@dataclass(slots=True, eq=False)
class Job:
    """A request that was sent, and where it is.

    Attributes:
        rows: in those of the model's own size.
        replica: that has it; None while it waits for one.
        over: whether it has ended, however.
        last: the step of its replica, counted from that one's start, at which it is done.
    """

    request: Request
    sent: float
    rows: float
    replica: Replica | None = None
    over: bool = False
    last: float = field(default=0.0, init=False)  # set by the replica


class Replica:
    """An engine, from the moment at which it is wanted.

    Args:
        name: a name of its own.
        node: on which machine.
        service: what it takes for its work at first, see ``use``.
        rows_per_pass: how many rows (of any size) go into a pass; with more, jobs take turns.

    Attributes:
        ready: whether it takes requests.
        stopping: whether it finishes what it has and then goes.
        version: changes with its jobs and their pace: what was foreseen of it before is void.
        service: what it takes for its work now.
    """

    def __init__(self, name: str, node: int, service: ServiceTimes, rows_per_pass: int) -> None:
        self.name = name
        self.node = node
        self.ready = False
        self.stopping = False
        self.version = 0
        self.service = service
        self._rows_per_pass = rows_per_pass
        self._jobs: list[tuple[float, int, Job]] = []  # a heap by the step at which they are done
        self._order = 0
        self._step = 0.0
        self._since = 0.0
        # Sums over its jobs.
        self.open = 0
        self._pass_rows = 0
        self._rows = 0.0
        self._last = 0.0  # rows x last
        self._pictures = 0.0  # 1 / evaluations: encoded and decoded in a pass

    def use(self, now: float, service: ServiceTimes) -> None:
        """Go on with other service times."""
        self._advance(now)
        self.service = service
        self.version += 1

    def work_left(self, now: float) -> float:
        """Row-steps of the model's own size."""
        self._advance(now)
        return max(0.0, self._last - self._step * self._rows)

    def accept(self, now: float, job: Job) -> None:
        """Take a job on."""
        self._advance(now)
        job.replica = self
        job.last = self._step + job.request.evaluations
        self._order += 1
        heapq.heappush(self._jobs, (job.last, self._order, job))
        self._count(job, 1)

    def withdraw(self, now: float, job: Job) -> None:
        """Forget a job, whose client has left."""
        self._advance(now)
        job.over = True
        self._count(job, -1)

    def next_done(self) -> float | None:
        """When a job will be done, if none comes or goes; None without one."""
        while self._jobs and self._jobs[0][2].over:
            heapq.heappop(self._jobs)
        if not self._jobs:
            return None
        return self._since + max(0.0, self._jobs[0][0] - self._step) * self._pass_seconds()

    def done(self, now: float) -> list[Job]:
        """The jobs that are done by now; they are no longer among its own."""
        self._advance(now)
        finished = []
        while self._jobs and self._jobs[0][0] <= self._step + _SLACK:
            job = heapq.heappop(self._jobs)[2]
            if not job.over:
                job.over = True
                self._count(job, -1)
                finished.append(job)
        return finished

    def _advance(self, now: float) -> None:
        if self.open:
            self._step += (now - self._since) / self._pass_seconds()
        self._since = now

    def _pass_seconds(self) -> float:
        """How long it takes until each job has had one more step."""
        passes = math.ceil(self._pass_rows / self._rows_per_pass)
        service = self.service
        seconds = passes * service.step + self._rows * service.row
        return max(seconds + self._pictures * service.picture, 1e-9)

    def _count(self, job: Job, sign: int) -> None:
        self.version += 1
        self.open += sign
        self._pass_rows += sign * job.request.rows
        self._rows += sign * job.rows
        self._last += sign * job.rows * job.last
        self._pictures += sign / max(1, job.request.evaluations)
        if not self.open:
            # What rounding has left.
            self._rows = self._last = self._pictures = 0.0
