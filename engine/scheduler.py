"""The scheduler: which stage is next, and which jobs are in it. All policy, no tensors."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from contract.errors import RequestError
from engine.estimates import Estimates, Group, group, has_picture
from engine.fair_queue import FairQueue
from engine.job import Job
from engine.limits import BatchLimits, RowBounds


class Stage(StrEnum):
    """The stages that the engine's thread runs."""

    ENCODE = "encode"
    DENOISE = "denoise"
    DECODE = "decode"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do next.

    Attributes:
        stage: which stage.
        model: the name of the jobs' model.
        jobs: at least one; but for ``ENCODE``, of one shape.
        pixels: of the given pictures to encode, or of the pictures to decode.
        job_rows: of a denoiser pass: rows that each job fills.
        rows: of a denoiser pass: rows of the batch, padding included.
        shape: of a denoiser pass: the jobs' one.
    """

    stage: Stage
    model: str
    jobs: tuple[Job, ...]
    pixels: int = 0
    job_rows: tuple[int, ...] = ()
    rows: int = 0
    shape: Hashable = None


class Weights(Protocol):
    """What the scheduler asks about weights in memory."""

    def ready(self, job: Job) -> bool:
        """Whether all that a waiting job needs is in memory."""
        ...


_Turn: TypeAlias = tuple[str, Hashable]  # a tenant, and a shape


class Scheduler:
    """Owns the queue and the jobs in progress, and answers one question: ``next``.

    - A pass is shared by jobs of one shape. Each pair of a tenant and a shape gets the same time.
    - Between two passes there is at most one piece of other work, encoding or decoding, meant to
      take no longer than a pass: that is all that a running job ever waits for other ones.
    - A job that would miss its deadline if it waited goes first; one that cannot make it any more
      is ended (``expired``).

    Waiting jobs are in the order of ``arrival``: that of submission, but the jobs of different
    tenants count as if they had come by turns.

    Args:
        limits: of a pass.
        weights: tells which jobs could run now.

    Attributes:
        waiting: for room, or for weights.
        running: prepared, and not yet denoised.
        denoised: and not yet decoded.
        suspect: the job that was being looked at; if ``next`` raises an exception, the cause.
    """

    def __init__(self, limits: BatchLimits, weights: Weights) -> None:
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self.denoised: list[Job] = []
        self.suspect: Job | None = None
        self._limits = limits
        self._weights = weights
        self._bounds = RowBounds(limits)
        self._estimates = Estimates()
        self._turns: FairQueue[_Turn] = FairQueue()
        self._last: Stage | None = None
        self._last_other: Stage | None = None
        self._clock = 0.0  # ``arrival`` of the last job that was admitted
        self._arrivals: dict[str, float] = {}  # of the last job of each tenant

    @property
    def in_progress(self) -> list[Job]:
        """The jobs that hold weights."""
        return [*self.running, *self.denoised]

    @property
    def jobs(self) -> list[Job]:
        return [*self.running, *self.denoised, *self.waiting]

    def add(self, jobs: Iterable[Job]) -> None:
        """Queue new jobs."""
        for job in jobs:
            tenant = job.request.tenant
            job.arrival = max(self._clock, self._arrivals.get(tenant, 0.0)) + 1
            self._arrivals[tenant] = job.arrival
            self._queue(job)
        # A tenant without a claim beyond the clock need not be remembered.
        self._arrivals = {one: last for one, last in self._arrivals.items() if last > self._clock}

    def remove(self, jobs: Iterable[Job]) -> None:
        """Forget jobs that have ended, wherever they are."""
        ended = set(jobs)
        if ended:
            self.waiting = [job for job in self.waiting if job not in ended]
            self.running = [job for job in self.running if job not in ended]
            self.denoised = [job for job in self.denoised if job not in ended]

    def expired(self) -> list[tuple[Job, RequestError]]:
        """The jobs that are cancelled, overdue, or cannot be done in time any more, and why."""
        ended = []
        for job in self.jobs:
            reason = job.cancel_reason
            if reason is None and self._estimates.hopeless(job):
                reason = job.deadline_exceeded
            if reason is not None:
                ended.append((job, reason))
        return ended

    def next(self) -> Plan | None:
        """What to do now; None if every job waits for weights, or there is none."""
        self.suspect = next(iter(self.jobs), None)
        if self._last is Stage.DENOISE:
            plan = self._other() or self._denoise()
        else:
            plan = self._denoise() or self._other()
        if plan is not None:
            self._last = plan.stage
            if plan.stage is not Stage.DENOISE:
                self._last_other = plan.stage
        return plan

    def admitted(self, jobs: Iterable[Job]) -> None:
        """Waiting jobs were prepared."""
        chosen = list(jobs)
        self.remove(chosen)
        self.running += chosen
        self._clock = max([self._clock, *(job.arrival for job in chosen)])

    def advanced(self, job: Job) -> None:
        """A running job was prepared, or has taken a step: it may have finished its segment."""
        if not job.denoising.finished:
            return
        self.running.remove(job)
        if job.last_segment:
            self.denoised.append(job)
        else:
            job.next_segment()
            self._queue(job)

    def overflowed(self, plan: Plan) -> None:
        """A pass did not fit into memory: make smaller ones of this shape."""
        self._bounds.overflowed(plan.shape, plan.rows)

    def took(self, plan: Plan, seconds: float) -> None:
        """A plan was carried out; it took so long on the device."""
        match plan.stage:
            case Stage.ENCODE:
                self._estimates.encoded(len(plan.jobs), plan.pixels, seconds)
            case Stage.DENOISE:
                self._estimates.denoised(plan.jobs[0], seconds)
                rows = sum(plan.job_rows)
                self._bounds.fitted(plan.shape, rows, plan.jobs[0].pixels)
                for job, count in zip(plan.jobs, plan.job_rows, strict=True):
                    self._turns.charge((job.request.tenant, plan.shape), seconds * count / rows)
            case Stage.DECODE:
                self._estimates.decode.record(plan.pixels, seconds)

    def _queue(self, job: Job) -> None:
        insort(self.waiting, job, key=lambda each: each.arrival)

    def _other(self) -> Plan | None:
        """Encoding or decoding, alternately where both are due."""
        if self.denoised and self._last_other is Stage.ENCODE:
            return self._decode()
        return self._encode() or (self._decode() if self.denoised else None)

    def _encode(self) -> Plan | None:
        """The waiting jobs to prepare now: of one model, as many as fit into a pass.

        Pictures of a model and size are admitted until they can fill a pass, so that none waits
        for those of another size.
        """
        taken = Counter[Group]()
        for job in self.running:
            taken[group(job)] += job.denoising.rows
        # None where no running job waits for its next step meanwhile.
        seconds = self._estimates.step.seconds_per_unit if self.running else None
        chosen: list[Job] = []
        for job in self._by_urgency():
            self.suspect = job
            if not self._weights.ready(job) or (chosen and job.model != chosen[0].model):
                continue
            if taken[group(job)] >= self._limits.capacity(job.pixels):
                continue
            if seconds is not None:
                # Of what is not known yet, one at a time.
                cost = self._estimates.encoding(job)
                if chosen and (cost is None or cost > seconds):
                    break
                seconds = 0.0 if cost is None else seconds - cost
            chosen.append(job)
            taken[group(job)] += 2 if job.request.guidance_scale > 1 else 1
        if not chosen:
            return None
        pixels = sum(job.pixels for job in chosen if has_picture(job))
        return Plan(Stage.ENCODE, chosen[0].model, tuple(chosen), pixels)

    def _by_urgency(self) -> list[Job]:
        """The waiting jobs in their order, but those first that would miss their deadlines."""
        urgent = {job for job in self.waiting if self._estimates.urgent(job)}
        # Stable: the others keep their order.
        return sorted(self.waiting, key=lambda job: job not in urgent) if urgent else self.waiting

    def _denoise(self) -> Plan | None:
        """A pass for the job whose turn it is, with those of its shape that fit."""
        if not self.running:
            return None
        lead = self._lead()
        self.suspect = lead
        batch, job_rows = [lead], [lead.denoising.rows]
        room = self._bounds.capacity(lead.shape, lead.pixels) - job_rows[0]
        others = [job for job in self.running if job is not lead and job.shape == lead.shape]
        for job in _interleaved(others):
            rows = job.denoising.rows
            if rows <= room:
                batch.append(job)
                job_rows.append(rows)
                room -= rows
        padded = self._limits.padded(sum(job_rows), lead.pixels)
        return Plan(
            Stage.DENOISE,
            lead.model,
            tuple(batch),
            job_rows=tuple(job_rows),
            rows=padded,
            shape=lead.shape,
        )

    def _lead(self) -> Job:
        """The running job with the least time to spare, if one has none to spare; else the one of
        the next turn that was served longest ago."""
        urgent = [job for job in self.running if self._estimates.urgent(job)]
        if urgent:
            return min(urgent, key=self._estimates.slack)
        turn = self._turns.pick({_turn(job) for job in self.running})
        candidates = [job for job in self.running if _turn(job) == turn]
        return min(candidates, key=lambda job: job.served_at)

    def _decode(self) -> Plan:
        """The denoised jobs to decode now: of one shape, as many as take no longer than a pass."""
        lead = self.denoised[0]
        self.suspect = lead
        batch = [job for job in self.denoised if job.shape == lead.shape]
        batch = batch[: self._limits.capacity(lead.pixels)]
        step = self._estimates.step.seconds_per_unit if self.running else None
        if step is not None:
            affordable = self._estimates.decode.affordable(step)
            batch = batch[: max(1, affordable // lead.pixels)]
        return Plan(Stage.DECODE, lead.model, tuple(batch), len(batch) * lead.pixels)


def _turn(job: Job) -> _Turn:
    return job.request.tenant, job.shape


def _interleaved(jobs: Iterable[Job]) -> list[Job]:
    """Each tenant's job that was served longest ago, then each one's second, and so on."""
    places = Counter[str]()
    ordered = []
    for job in sorted(jobs, key=lambda each: each.served_at):
        places[job.request.tenant] += 1
        ordered.append((places[job.request.tenant], job.served_at, job))
    return [job for *_, job in sorted(ordered, key=lambda each: each[:2])]
