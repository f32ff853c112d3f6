"""How many CPU threads make a piece of work fastest: measured while it runs.

Threads meet at barriers hundreds of times a pass. For a small pass that costs more than they
bring, for a large one it does not, and with anything else on the cores they wait for each other's
turn (two cores, the embedded model, 16 rows: 100 ms with one thread, 65 with two, and 270 with two
beside a busy process). Two halves of a pass, each with its own thread, meet only once, but each has
fewer rows. So no fixed way is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple, TypeVar

import torch

from engine.pace import Pace

Result = TypeVar("Result")

PROBE_INTERVAL = 50  # calls, at least, between two looks at a way that was slower
PROBE_SHARE = 0.02  # of the time, at most, that these looks may cost
LARGE = 0.5  # seconds of a piece of work from where the barriers do not matter


class Way(NamedTuple):
    """How a piece of work is run: in so many parts at once, each with so many threads."""

    threads: int
    parts: int = 1


class ThreadTuner:
    """Runs pieces of work in the way that was fastest for the like lately.

    Args:
        ways: what to choose from, in the order in which they are tried; a single one is kept,
            undivided where the work is.
    """

    def __init__(self, ways: Sequence[Way]) -> None:
        self._ways = ways
        self._records: dict[Hashable, _Record] = {}

    @classmethod
    def automatic(cls, *, divide: bool = True) -> ThreadTuner:
        """Choose between as many threads as torch would use, two parts with half of them each
        (unless ``divide`` is false), and one thread."""
        most = torch.get_num_threads()
        halves = [Way(most // 2, 2)] if divide and most > 1 else []
        return cls(list(dict.fromkeys([Way(most), *halves, Way(1)])))

    def run(
        self,
        kind: Hashable,
        size: int,
        work: Callable[[], Result],
        divided: Callable[[Way], Result] | None = None,
    ) -> Result:
        """Run ``work``.

        Args:
            kind: what sort of work; there must not be many.
            size: >= 1, to which the time of one kind's work is roughly proportional.
            work: the work as a whole, to be called with the threads set.
            divided: the same work in parts, if it can be divided; has to set the parts' threads.
        """
        ways = [way for way in self._ways if way.parts == 1 or divided is not None] or self._ways
        if len(ways) == 1:
            return _run(ways[0], work, divided)
        # Two classes an octave: what is best depends on the size, if not on every bit of it.
        octave = round(2 * math.log2(size))
        record = self._records.setdefault((kind, octave, len(ways)), _Record())
        way = record.choose(ways)
        started = perf_counter()
        result = _run(way, work, divided)
        record.note(way, perf_counter() - started, size)
        return result


@dataclass(slots=True)
class _Record:
    """What a unit of like work takes, and at which call it was looked at last, by way."""

    paces: dict[Way, Pace] = field(default_factory=dict)
    tried_at: dict[Way, int] = field(default_factory=dict)
    calls: int = 0
    large: bool = False

    def choose(self, ways: Sequence[Way]) -> Way:
        if self.large or not self.paces:
            return ways[0]
        for way in ways:
            if way not in self.paces:
                return way
        seconds = {way: self.paces[way].estimate(1) for way in ways}
        best = min(ways, key=lambda way: seconds[way])
        for way in ways:
            loss = seconds[way] / seconds[best] - 1
            interval = max(PROBE_INTERVAL, loss / PROBE_SHARE)
            if way != best and self.calls - self.tried_at[way] >= interval:
                return way
        return best

    def note(self, way: Way, seconds: float, size: int) -> None:
        self.calls += 1
        # The very first call pays for kernels and memory: it says nothing.
        if self.calls == 1:
            return
        self.large = seconds > LARGE and len(self.paces) <= 1
        self.paces.setdefault(way, Pace()).record(size, seconds)
        self.tried_at[way] = self.calls


def _run(way: Way, work: Callable[[], Result], divided: Callable[[Way], Result] | None) -> Result:
    if way.parts > 1 and divided is not None:
        return divided(way)
    set_threads(way.threads)
    return work()


def set_threads(threads: int) -> None:
    """Set torch's CPU threads, of the thread that calls it."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
