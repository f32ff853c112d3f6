"""The tuner of CPU threads: measures, while it works, how many make a piece of work fastest.

Threads meet at barriers hundreds of times a pass. For a small pass that costs more than they
bring, for a large one it does not, and with anything else on the cores they wait for each other's
turn (two cores, the embedded model, 16 rows: 100 ms with one thread, 65 with two, and 270 with two
beside a busy process). Two halves of a pass, each with its own thread, meet only once, but each has
fewer rows. So no fixed plan is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple, TypeVar

import torch

from engine.cost import CostEstimate

Result = TypeVar("Result")

PROBE_INTERVAL = 50  # calls, at least, between two looks at a way that was slower
PROBE_SHARE = 0.02  # of the time, at most, that these looks may cost
LARGE = 0.5  # seconds of a piece of work from where the barriers do not matter


class ThreadPlan(NamedTuple):
    """How a piece of work is run: in ``split`` parts at once, each with ``threads`` threads."""

    threads: int
    split: int = 1


class ThreadTuner:
    """Runs pieces of work in the way that was fastest for the like lately.

    Args:
        plans: what to choose from, in the order in which they are tried; a single one is kept,
            undivided where the work is.
        clock: the time in seconds.
    """

    def __init__(
        self, plans: Sequence[ThreadPlan], clock: Callable[[], float] = perf_counter
    ) -> None:
        self._plans = plans
        self._clock = clock
        self._records: dict[Hashable, _Record] = {}

    @classmethod
    def automatic(cls, most: int, *, divide: bool = True) -> ThreadTuner:
        """Choose between ``most`` threads, two parts with half of them each (unless ``divide`` is
        false), and one thread."""
        halves = [ThreadPlan(most // 2, 2)] if divide and most > 1 else []
        return cls(list(dict.fromkeys([ThreadPlan(most), *halves, ThreadPlan(1)])))

    def run(
        self,
        kind: Hashable,
        size: int,
        work: Callable[[], Result],
        divided: Callable[[ThreadPlan], Result] | None = None,
    ) -> Result:
        """Run ``work``.

        Args:
            kind: what sort of work; there must not be many.
            size: >= 1, to which the time of one kind's work is roughly proportional.
            work: the work as a whole, to be called with the threads set.
            divided: the same work in parts, if it can be divided; has to set their threads.
        """
        plans = [
            plan for plan in self._plans if plan.split == 1 or divided is not None
        ] or self._plans
        if len(plans) == 1:
            return _run(plans[0], work, divided)
        # Two classes for each factor of two: what is best depends on the rough size only.
        size_class = round(2 * math.log2(size))
        record = self._records.setdefault((kind, size_class, len(plans)), _Record())
        plan = record.choose(plans)
        started = self._clock()
        result = _run(plan, work, divided)
        record.note(plan, self._clock() - started, size)
        return result


@dataclass(slots=True)
class _Record:
    """What a unit of like work takes, and at which call it was looked at last, by plan."""

    costs: dict[ThreadPlan, CostEstimate] = field(default_factory=dict)
    tried_at: dict[ThreadPlan, int] = field(default_factory=dict)
    calls: int = 0
    large: bool = False

    def choose(self, plans: Sequence[ThreadPlan]) -> ThreadPlan:
        if self.large or not self.costs:
            return plans[0]
        for plan in plans:
            if plan not in self.costs:
                return plan
        seconds = {plan: self.costs[plan].seconds_per_unit or math.inf for plan in plans}
        best = min(plans, key=lambda plan: seconds[plan])
        for plan in plans:
            loss = seconds[plan] / seconds[best] - 1
            interval = max(PROBE_INTERVAL, loss / PROBE_SHARE)
            if plan != best and self.calls - self.tried_at[plan] >= interval:
                return plan
        return best

    def note(self, plan: ThreadPlan, seconds: float, size: int) -> None:
        self.calls += 1
        # The very first call pays for kernels and memory: it says nothing.
        if self.calls == 1:
            return
        self.large = seconds > LARGE and len(self.costs) <= 1
        self.costs.setdefault(plan, CostEstimate()).record(size, seconds)
        self.tried_at[plan] = self.calls


def _run(
    plan: ThreadPlan, work: Callable[[], Result], divided: Callable[[ThreadPlan], Result] | None
) -> Result:
    if plan.split > 1 and divided is not None:
        return divided(plan)
    set_threads(plan.threads)
    return work()


def set_threads(threads: int) -> None:
    """Set torch's CPU threads, of the thread that calls it."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
