"""The scheduler: which stage is next, and which jobs are in it. All policy, no tensors."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Protocol, TypeAlias

from contract.errors import RequestError
from engine.estimates import Estimates
from engine.fair_queue import FairQueue
from engine.job import Job, SizeClass
from engine.limits import BatchLimits, RowBounds
from engine.plan import Plan, Stage

# Of time that a flow may have before its turn: about what a picture takes.
CREDIT_PASSES = 50


class Weights(Protocol):
    """What the scheduler asks about weights in memory."""

    def ready(self, job: Job) -> bool:
        """Whether all that a waiting job needs is in memory."""
        ...


_Flow: TypeAlias = tuple[str, Hashable]  # the jobs of a tenant and a shape


class Scheduler:
    """Owns the queue and the jobs in progress, and answers one question: ``next``.

    - A pass is shared by jobs of one shape. Each flow, of a tenant and a shape, gets the same time.
    - Between two passes there is at most one piece of other work, encoding or decoding, meant to
      take no longer than a pass: that is all that a running job ever waits for other ones.
    - A job that would miss its deadline if it waited goes first, within a credit that its flow has
      to give back; one that cannot make it any more is ended (``expired``).

    Waiting jobs are in the order of ``arrival``: that of submission, but the jobs of different
    tenants count as if they had come alternately.

    Args:
        limits: of a pass.
        weights: tells which jobs could run now.

    Attributes:
        waiting: for room, or for weights.
        running: prepared, and not yet denoised.
        denoised: and not yet decoded.
        suspect: the job that was looked at last; if a method raises an exception, the cause.
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
        self._flows: FairQueue[_Flow] = FairQueue()
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
        return [*self.waiting, *self.running, *self.denoised]

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
            self.suspect = job
            reason = job.cancel_reason
            if reason is None and self._estimates.hopeless(job):
                reason = job.deadline_exceeded
            if reason is not None:
                ended.append((job, reason))
        return ended

    def next(self) -> Plan | None:
        """What to do now; None if every job waits for weights, or there is none."""
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
        self._bounds.overflowed(plan.shape, sum(plan.job_rows))

    def took(self, plan: Plan, seconds: float) -> None:
        """A plan was carried out; it took so long on the device."""
        if plan.stage is Stage.ENCODE:
            self._estimates.encoded(len(plan.jobs), plan.pixels, seconds)
        elif plan.stage is Stage.DECODE:
            self._estimates.decode.record(plan.pixels, seconds)
        elif plan.size_class is not None:
            self._estimates.denoised(plan.size_class, plan.rows, seconds)
            rows = sum(plan.job_rows)
            self._bounds.fitted(plan.shape, rows, plan.jobs[0].pixels)
            for job, count in zip(plan.jobs, plan.job_rows, strict=True):
                self._flows.charge((job.request.tenant, plan.shape), seconds * count / rows)

    def admissible(self) -> list[Job]:
        """The waiting jobs to prepare now: of one model, as many as fit into a pass.

        Pictures of a model and size are admitted until they can fill a pass, so that none waits
        for those of another size.
        """
        taken = Counter[SizeClass]()
        for job in self.running:
            self.suspect = job
            taken[job.size_class] += job.denoising.rows
        # None where no running job waits for its next step meanwhile.
        seconds = self._estimates.step.seconds_per_unit if self.running else None
        urgent = self._urgent(self.waiting)
        chosen: list[Job] = []
        # Stable: but for the urgent ones, they keep their order.
        for job in sorted(self.waiting, key=lambda one: one not in urgent):
            self.suspect = job
            if not self._weights.ready(job) or (chosen and job.model != chosen[0].model):
                continue
            full = taken[job.size_class] >= self._limits.capacity(job.pixels)
            if full and job not in urgent:
                continue
            if seconds is not None:
                # Of what is not known yet, one at a time.
                cost = self._estimates.encoding(job)
                if chosen and (cost is None or cost > seconds):
                    break
                seconds = 0.0 if cost is None else seconds - cost
            chosen.append(job)
            taken[job.size_class] += 2 if job.request.guidance_scale > 1 else 1
        return chosen

    def _queue(self, job: Job) -> None:
        insort(self.waiting, job, key=lambda each: each.arrival)

    def _urgent(self, jobs: Iterable[Job]) -> set[Job]:
        longest_pass = self._estimates.longest_pass([*self.running, *self.waiting])
        urgent = set()
        for job in jobs:
            self.suspect = job
            if self._estimates.urgent(job, longest_pass):
                urgent.add(job)
        return urgent

    def _other(self) -> Plan | None:
        """Encoding or decoding, alternately where both are due."""
        if self.denoised and self._last_other is Stage.ENCODE:
            return self._decode()
        return self._encode() or (self._decode() if self.denoised else None)

    def _encode(self) -> Plan | None:
        chosen = self.admissible()
        if not chosen:
            return None
        pixels = sum(job.pixels for job in chosen if job.has_picture)
        return Plan(Stage.ENCODE, chosen[0].model, tuple(chosen), pixels)

    def _denoise(self) -> Plan | None:
        """A pass for the job whose turn it is, with those of its shape that fit."""
        if not self.running:
            return None
        lead = self._lead()
        batch, job_rows = [lead], [lead.denoising.rows]
        room = self._bounds.capacity(lead.shape, lead.pixels) - job_rows[0]
        for job in _interleaved(lead, [one for one in self.running if one.shape == lead.shape]):
            self.suspect = job
            rows = job.denoising.rows
            if rows <= room:
                batch.append(job)
                job_rows.append(rows)
                room -= rows
        return Plan(
            Stage.DENOISE,
            lead.model,
            tuple(batch),
            job_rows=tuple(job_rows),
            rows=self._limits.padded(sum(job_rows), lead.pixels),
            shape=lead.shape,
            size_class=lead.size_class,
        )

    def _lead(self) -> Job:
        """The running job with the least time to spare, if one has none to spare; else the one of
        the next flow that was served longest ago."""
        credit = CREDIT_PASSES * self._estimates.longest_pass(self.running)
        urgent = [
            job for job in self._urgent(self.running) if self._flows.debt(_flow(job)) < credit
        ]
        if urgent:
            return min(urgent, key=self._estimates.slack)
        flow = self._flows.pick({_flow(job) for job in self.running})
        candidates = [job for job in self.running if _flow(job) == flow]
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


def _flow(job: Job) -> _Flow:
    return job.request.tenant, job.shape


def _interleaved(lead: Job, jobs: Iterable[Job]) -> list[Job]:
    """Beside ``lead``, each tenant's job that was served longest ago, then each one's second, and
    so on."""
    places = Counter({lead.request.tenant: 1})
    ordered = []
    for job in sorted(jobs, key=lambda each: each.served_at):
        if job is not lead:
            places[job.request.tenant] += 1
            ordered.append((places[job.request.tenant], job.served_at, job))
    return [job for *_, job in sorted(ordered, key=lambda each: each[:2])]
