"""The admission: the waiting jobs, and which of them are prepared next."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Protocol

from engine.estimates import Estimates
from engine.job import Job, SizeClass


class Weights(Protocol):
    """What the admission asks about weights in memory."""

    def ready(self, job: Job) -> bool:
        """Whether all that a waiting job needs is in memory."""
        ...


class Admission:
    """Orders those who wait by ``arrival``: that of submission, but the jobs of different tenants
    count as if they had come alternately, more often those of a tenant with more weight.

    Args:
        weights: tells which jobs could run now.
        estimates: of what it takes to prepare a job.
        capacity: rows of a pass over the pictures of a job.
        looked: passes on jobs, each as the one that is being looked at.

    Attributes:
        waiting: the jobs, in their order.
    """

    def __init__(
        self,
        weights: Weights,
        estimates: Estimates,
        capacity: Callable[[Job], int],
        looked: Callable[[Iterable[Job]], Iterator[Job]],
    ) -> None:
        self.waiting: list[Job] = []
        self._weights = weights
        self._estimates = estimates
        self._capacity = capacity
        self._looked = looked
        self._clock = 0.0  # ``arrival`` of the last job that was admitted
        self._arrivals: dict[str, float] = {}  # of the last job of each tenant

    def add(self, jobs: Iterable[Job]) -> None:
        """Queue new jobs."""
        for job in jobs:
            job.arrival = max(self._clock, self._arrivals.get(job.tenant, 0.0)) + 1 / job.weight
            self._arrivals[job.tenant] = job.arrival
            self.queue(job)
        # A tenant without a claim beyond the clock need not be remembered.
        self._arrivals = {one: last for one, last in self._arrivals.items() if last > self._clock}

    def queue(self, job: Job) -> None:
        """Queue a job that has its arrival: a new one, or one that has finished a segment."""
        insort(self.waiting, job, key=lambda each: each.arrival)

    def remove(self, jobs: Collection[Job]) -> None:
        """Forget jobs that have ended, or were admitted."""
        self.waiting = [job for job in self.waiting if job not in jobs]

    def admitted(self, jobs: Collection[Job]) -> None:
        """Waiting jobs were prepared."""
        self.remove(jobs)
        self._clock = max([self._clock, *(job.arrival for job in jobs)])

    def ready(self, running: Sequence[Job], urgent: Collection[Job]) -> list[Job]:
        """The waiting jobs that could be prepared now, the urgent ones first.

        Of a tenant's pictures of a model and size there are as many as can fill a pass, so that
        none waits for those of another size or tenant.
        """
        taken = Counter[tuple[str, SizeClass]]()
        for job in self._looked(running):
            taken[job.tenant, job.size_class] += job.denoising.rows
        ready: list[Job] = []
        # Stable: but for the urgent ones, they keep their order.
        for job in self._looked(sorted(self.waiting, key=lambda one: one not in urgent)):
            kind = job.tenant, job.size_class
            full = taken[kind] >= self._capacity(job)
            if (full and job not in urgent) or not self._weights.ready(job):
                continue
            ready.append(job)
            taken[kind] += job.rows_at_most
        return ready

    def batch(
        self, tenant: str, ready: Sequence[Job], times: float, seconds: float | None
    ) -> dict[Job, float]:
        """Those of the jobs that are ready to prepare in one go, each with its share of the work.

        They are of one model: a tenant's, and with them those of other ones as far as it does not
        wait longer for that than its share of the time.

        Args:
            tenant: whose turn it is; has one of the jobs.
            times: how many times that tenant's work all may take together.
            seconds: what it may take, unless it is a single job; None for no bound.
        """
        own = [job for job in ready if job.tenant == tenant]
        others = [job for job in ready if job.tenant != tenant]
        costs: dict[Job, float] = {}
        spent = spent_on_own = 0.0
        known = True
        for job in self._looked([*own, *others]):
            if job.model != own[0].model:
                continue
            estimate = self._estimates.encoding(job)
            cost = estimate or 0.0
            # Of what is not known yet, one at a time.
            known &= estimate is not None
            too_long = seconds is not None and (not known or spent + cost > seconds)
            if costs and too_long:
                break
            if job.tenant == tenant:
                spent_on_own += cost
            elif spent + cost > times * spent_on_own:
                continue
            costs[job] = cost
            spent += cost
        # Before anything is known, all count the same.
        return (
            {job: cost or 1.0 for job, cost in costs.items()}
            if known
            else dict.fromkeys(costs, 1.0)
        )
