"""The turns: whose it is, a tenant's first and then one of its shapes', and for which stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field

from engine.fair_queue import FairQueue
from engine.job import Job
from engine.plan import Plan, Stage


@dataclass(slots=True)
class _Tenant:
    """What a tenant did last, and the time that its shapes have had for each of their jobs."""

    shapes: FairQueue[Hashable] = field(default_factory=FairQueue)
    last: Stage | None = None
    last_other: Stage | None = None


class Turns:
    """Gives tenants the same time, or as much of it as their weights say, and in that time each
    of a tenant's running jobs the same.

    All work counts: encoding, passes and decoding, each job's part of it.
    """

    def __init__(self) -> None:
        self._queue: FairQueue[str] = FairQueue()
        self._tenants: dict[str, _Tenant] = {}

    def tenant(self, tenants: Collection[str]) -> str:
        """The next one, of those that have work. Raises ``ValueError`` if there is none."""
        chosen = self._queue.pick(tenants)
        # Of one without work and without debts there is nothing to remember.
        self._tenants = {name: one for name, one in self._tenants.items() if name in self._queue}
        return chosen

    def least(self, tenants: Collection[str]) -> str:
        """The next of some tenants only; the others keep their claims."""
        return self._queue.least(tenants)

    def shape(self, tenant: str, shapes: Collection[Hashable]) -> Hashable:
        """The next one, of those that a tenant has running jobs of."""
        return self._of(tenant).shapes.pick(shapes)

    def stages(self, tenant: str) -> Sequence[Stage]:
        """The stages in the order in which a tenant's turn goes to one that has work: passes and
        other work alternately, and of the other work encoding and decoding alternately."""
        one = self._of(tenant)
        others = [Stage.ENCODE, Stage.DECODE]
        if one.last_other is Stage.ENCODE:
            others.reverse()
        return [*others, Stage.DENOISE] if one.last is Stage.DENOISE else [Stage.DENOISE, *others]

    def debt(self, job: Job) -> float:
        """Seconds that a job's tenant, or its shape among those of its tenant, has had more than
        its share."""
        debt = self._queue.debt(job.tenant)
        if job.state is None:
            return debt
        return max(debt, self._of(job.tenant).shapes.debt(job.shape))

    def ahead(self, tenant: str, other: str) -> float:
        """Seconds that a tenant has had more than another one."""
        return self._queue.ahead(tenant, other)

    def took_turn(self, plan: Plan) -> None:
        """A plan was made for the tenant of its first job."""
        one = self._of(plan.jobs[0].tenant)
        one.last = plan.stage
        if plan.stage is not Stage.DENOISE:
            one.last_other = plan.stage

    def charge(self, plan: Plan, seconds: float, counted: float) -> None:
        """A plan took so long, and counts as that much to the tenants."""
        whole = sum(plan.shares)
        jobs = Counter(job.tenant for job in plan.jobs)
        for job, share in zip(plan.jobs, plan.shares, strict=True):
            part = share / whole
            self._queue.charge(job.tenant, counted * part / job.weight)
            if plan.stage is Stage.DENOISE:
                # A shape of many jobs has as much more of the time than one of a single job.
                own = seconds * part / jobs[job.tenant]
                self._of(job.tenant).shapes.charge(plan.shape, own)

    def _of(self, tenant: str) -> _Tenant:
        return self._tenants.setdefault(tenant, _Tenant())
