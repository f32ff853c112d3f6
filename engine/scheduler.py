"""The scheduler: which stage is next, and which jobs are in it. All policy, no tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from contract.errors import RequestError
from engine.admission import Admission, Weights
from engine.estimates import Estimates
from engine.job import Job
from engine.limits import BatchLimits, RowBounds
from engine.plan import Plan, Stage
from engine.room import Room
from engine.turns import Turns

# The tenants that have work now, with their weights.
Weighted: TypeAlias = Mapping[str, float]

# Of time that a tenant or a shape may have before its turn: about what a picture takes.
CREDIT_PASSES = 50


class Scheduler:
    """Owns the queue and the jobs in progress, and answers one question: ``next``.

    - Each tenant gets the same time, and in that time each of its pictures: so a shape of many has
      more passes than one of few. Those whose turn it is not go along where there is room, as far
      as nobody waits longer for that than its share, and they have not had more than theirs.
    - Between two passes of a tenant there is at most one piece of its other work, encoding or
      decoding, meant to take no longer than a pass.
    - A job that would miss its deadline if it waited goes first, within a credit that its tenant
      has to give back; one that cannot make it any more is ended (``expired``).

    Args:
        limits: of a pass, and of a piece of other work.
        weights: tells which jobs could run now.

    Attributes:
        running: prepared, and not yet denoised.
        denoised: and not yet decoded.
        suspect: the job that was looked at last; if a method raises an exception, the cause.
    """

    def __init__(self, limits: BatchLimits, weights: Weights) -> None:
        self.running: list[Job] = []
        self.denoised: list[Job] = []
        self.suspect: Job | None = None
        self._limits = limits
        self._bounds = RowBounds()
        self._estimates = Estimates()
        self._admission = Admission(weights, self._estimates, self._places, self._looked)
        self._turns = Turns()
        self._last: Stage | None = None

    @property
    def waiting(self) -> list[Job]:
        """The jobs that wait for room, or for weights, in their order."""
        return self._admission.waiting

    @property
    def in_progress(self) -> list[Job]:
        """The jobs that hold weights."""
        return [*self.running, *self.denoised]

    @property
    def jobs(self) -> list[Job]:
        return [*self.waiting, *self.running, *self.denoised]

    def add(self, jobs: Iterable[Job]) -> None:
        """Queue new jobs."""
        if not self.jobs:
            # Nobody waits: nobody owes anything.
            self._turns = Turns()
        self._admission.add(jobs)

    def remove(self, jobs: Iterable[Job]) -> None:
        """Forget jobs that have ended, wherever they are."""
        ended = set(jobs)
        if ended:
            self._admission.remove(ended)
            self.running = [job for job in self.running if job not in ended]
            self.denoised = [job for job in self.denoised if job not in ended]

    def expired(self) -> list[tuple[Job, RequestError]]:
        """The jobs that are cancelled, overdue, or cannot be done in time any more, and why."""
        ended = []
        for job in self._looked(self.jobs):
            reason = job.cancel_reason
            if reason is None and self._estimates.hopeless(job):
                reason = job.deadline_exceeded
            if reason is not None:
                ended.append((job, reason))
        return ended

    def next(self) -> Plan | None:
        """What to do now; None if every job waits for weights, or there is none."""
        ready = self.admissible()
        others = [*self.denoised, *ready]
        weights = {job.tenant: job.weight for job in [*self.running, *others]}
        if not weights:
            return None
        after_pass = self._last is Stage.DENOISE
        plan: Plan | None
        if (after_pass or not self.running) and (first := self._most_urgent(ready)):
            plan = self._encode(first.tenant, ready, weights)
        elif lead := self._most_urgent(self.running):
            if after_pass and others:
                # So that neither admission nor what is done waits for the urgent ones.
                tenant = self._turns.least(list(dict.fromkeys(job.tenant for job in others)))
                plan = self._turn(tenant, ready, weights, passes=False)
            else:
                plan = self._denoise(lead, weights)
        else:
            plan = self._turn(self._turns.tenant(list(weights)), ready, weights)
        if plan is not None:
            self._last = plan.stage
            self._turns.took_turn(plan)
        return plan

    def admitted(self, jobs: Iterable[Job]) -> None:
        """Waiting jobs were prepared."""
        chosen = list(jobs)
        self._admission.admitted(chosen)
        self.running += chosen

    def advanced(self, job: Job) -> None:
        """A running job was prepared, or has taken a step: it may have finished its segment."""
        if not job.denoising.finished:
            return
        self.running.remove(job)
        if job.last_segment:
            self.denoised.append(job)
        else:
            job.next_segment()
            self._admission.queue(job)

    def overflowed(self, plan: Plan) -> None:
        """A pass did not fit into memory: make smaller ones of these sizes."""
        for size in plan.sizes:
            self._bounds.overflowed(size.shape, size.whole)

    def took(self, plan: Plan, seconds: float) -> None:
        """A plan was carried out; it took so long on the device."""
        counted = seconds
        if plan.stage is Stage.ENCODE:
            self._estimates.encoded(len(plan.jobs), plan.pixels, seconds)
        elif plan.stage is Stage.DECODE:
            self._estimates.decode.record(plan.pixels, seconds)
        else:
            self._estimates.denoised(plan.sizes, plan.rows, seconds)
            counted = self._estimates.counted(plan.sizes, seconds)
            limits = self._limits.of(plan.model)
            for size in plan.sizes:
                self._bounds.fitted(size.shape, size.whole, limits.capacity(size.pixels))
        self._turns.charge(plan, seconds, counted)

    def admissible(self) -> list[Job]:
        """The waiting jobs that could be prepared now, the urgent ones first."""
        return self._admission.ready(self.running, self._urgent(self.waiting))

    def _looked(self, jobs: Iterable[Job]) -> Iterator[Job]:
        for job in jobs:
            self.suspect = job
            yield job

    def _urgent(self, jobs: Iterable[Job]) -> set[Job]:
        longest_pass = self._estimates.longest_pass([*self.running, *self.waiting])
        return {job for job in self._looked(jobs) if self._estimates.urgent(job, longest_pass)}

    def _most_urgent(self, jobs: Sequence[Job]) -> Job | None:
        """The one with the least time to spare, if one has none to spare and its tenant credit."""
        credit = CREDIT_PASSES * self._estimates.longest_pass(jobs)
        urgent = [job for job in self._urgent(jobs) if self._turns.debt(job) < credit]
        return min(urgent, key=self._estimates.slack, default=None)

    def _turn(
        self, tenant: str, ready: Sequence[Job], weights: Weighted, *, passes: bool = True
    ) -> Plan | None:
        """What a tenant's turn is used for: the stages in turn, as far as it has work for them."""
        running = [job for job in self.running if passes and job.tenant == tenant]
        denoised = [job for job in self.denoised if job.tenant == tenant]
        waits = any(job.tenant == tenant for job in ready)
        for stage in self._turns.stages(tenant):
            if stage is Stage.DENOISE and running:
                return self._denoise(self._lead(tenant, running), weights)
            if stage is Stage.ENCODE and waits:
                return self._encode(tenant, ready, weights)
            if stage is Stage.DECODE and denoised:
                return self._decode(denoised[0], weights)
        return None

    def _lead(self, tenant: str, running: Sequence[Job]) -> Job:
        """Of a tenant's running jobs the one served longest ago, of the shape whose turn it is."""
        shape = self._turns.shape(tenant, list(dict.fromkeys(job.shape for job in running)))
        return min((job for job in running if job.shape == shape), key=lambda job: job.served_at)

    def _encode(self, tenant: str, ready: Sequence[Job], weights: Weighted) -> Plan:
        costs = self._admission.batch(tenant, ready, _times(tenant, weights), self._piece())
        chosen = tuple(costs)
        pixels = sum(job.pixels for job in chosen if job.has_picture)
        return Plan(Stage.ENCODE, chosen[0].model, chosen, tuple(costs.values()), pixels)

    def _denoise(self, lead: Job, weights: Weighted) -> Plan:
        """A pass for the job whose turn it is, with those of its shape that fit."""
        room = Room(lead, self._rows, lambda job: self._estimates.weight(job, lead))
        batch, shares = [lead], [room.work(lead)]
        own = total = shares[0]
        times = _times(lead.tenant, weights)
        # Of tenants that share their passes one is ahead by a part of a pass.
        most_ahead = self._estimates.longest_pass([lead])
        for job in self._looked(_interleaved(lead, self.running)):
            work = room.work(job)
            is_own = job.tenant == lead.tenant
            # A pass of n times the work takes at most n times as long, which is what the tenant
            # would wait for if n tenants like it took turns. For one that has had its time already
            # it need not wait at all.
            fair = total + work <= times * own and (
                self._turns.ahead(job.tenant, lead.tenant) <= most_ahead
            )
            if room.fits(job) and (is_own or fair):
                room.take(job)
                batch.append(job)
                shares.append(work)
                total += work
                own += work if is_own else 0
        job_rows = tuple(job.denoising.rows for job in batch)
        rows, sizes = sum(job_rows), room.sizes
        limits = self._limits.of(lead.model)
        return Plan(
            Stage.DENOISE,
            lead.model,
            tuple(batch),
            tuple(shares),
            job_rows=job_rows,
            # Padding is there for kernels of few shapes, and mixed sizes have any.
            rows=limits.padded(rows, lead.pixels) if len(sizes) == 1 else rows,
            shape=lead.shape,
            sizes=sizes,
        )

    def _decode(self, lead: Job, weights: Weighted) -> Plan:
        """The denoised jobs to decode now: of one shape, as many as take no longer than a pass."""
        self.suspect = lead
        shape = lead.picture_shape
        alike = [job for job in self.denoised if job.picture_shape == shape]
        own = [job for job in alike if job.tenant == lead.tenant]
        others = [job for job in alike if job.tenant != lead.tenant]
        most = self._capacity(lead)
        if (seconds := self._piece()) is not None:
            most = min(most, max(1, self._estimates.decode.affordable(seconds) // lead.pixels))
        own = own[:most]
        batch = [*own, *others][: min(most, int(_times(lead.tenant, weights) * len(own)))]
        shares = (1.0,) * len(batch)
        return Plan(Stage.DECODE, lead.model, tuple(batch), shares, len(batch) * lead.pixels)

    def _piece(self) -> float | None:
        """Seconds that a piece of encoding or decoding of several jobs may take; None for any."""
        bounds = [self._limits.seconds or 0.0, self._estimates.longest_pass(self.running)]
        return min((seconds for seconds in bounds if seconds), default=None)

    def _rows(self, job: Job) -> int:
        """Rows that fit into a pass over pictures like that of a job, in memory and in time."""
        rows = self._bounds.capacity(job.picture_shape, self._capacity(job))
        if self._limits.seconds is None:
            return rows
        # The first pass of a size says what it takes.
        return min(rows, self._estimates.rows_within(job.size_class, self._limits.seconds) or 1)

    def _capacity(self, job: Job) -> int:
        """Rows of a pass for pictures like that of a job, by the limits of its model."""
        return self._limits.of(job.model).capacity(job.pixels)

    def _places(self, job: Job) -> int:
        """Rows of a pass for pictures like that of a job, as far as is known."""
        rows = self._capacity(job)
        if self._limits.seconds is None:
            return rows
        within = self._estimates.rows_within(job.size_class, self._limits.seconds)
        return rows if within is None else max(1, min(rows, within))


def _interleaved(lead: Job, running: Iterable[Job]) -> list[Job]:
    """Of the shape of ``lead`` beside it, each tenant's job that was served longest ago, then each
    one's second, and so on."""
    places = Counter({lead.tenant: 1})
    ordered = []
    for job in sorted(running, key=lambda each: each.served_at):
        if job is not lead and job.shape == lead.shape:
            places[job.tenant] += 1
            ordered.append((places[job.tenant], job.served_at, job))
    return [job for *_, job in sorted(ordered, key=lambda each: each[:2])]


def _times(tenant: str, weights: Weighted) -> float:
    """How many times its own work a tenant's turns and those of the others come to: of n tenants
    with the same weight, n."""
    return sum(weights.values()) / weights[tenant]
