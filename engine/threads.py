"""How many CPU threads make a piece of work fastest: measured while it runs.

Threads meet at barriers hundreds of times a pass. For a small pass that costs more than they
bring, for a large one it does not, and with anything else on the cores they wait for each other's
turn (two cores, the embedded model, 16 rows: 100 ms with one thread, 65 with two, and 270 with two
beside a busy process). So no fixed number is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TypeVar

import torch

Result = TypeVar("Result")

SMOOTHING = 0.3
PROBE_INTERVAL = 50  # calls, at least, between two looks at the choice that was slower
PROBE_SHARE = 0.02  # of the time, at most, that these looks may cost
LARGE = 0.5  # seconds of a piece of work from where the barriers do not matter


class ThreadTuner:
    """Runs pieces of work with one CPU thread or all, whichever was faster for the like lately.

    Args:
        choices: the numbers of threads to choose from; a single one is simply kept.
    """

    def __init__(self, choices: tuple[int, ...]) -> None:
        self._choices = sorted(choices, reverse=True)
        self._records: dict[Hashable, _Record] = {}

    @classmethod
    def automatic(cls) -> ThreadTuner:
        """Choose between one thread and as many as torch would use."""
        return cls(tuple({1, torch.get_num_threads()}))

    def run(self, kind: Hashable, size: int, work: Callable[[], Result]) -> Result:
        """Run ``work``.

        Args:
            kind: what sort of work; there must not be many.
            size: >= 1, to which the time of one kind's work is roughly proportional.
        """
        if len(self._choices) == 1:
            _set_threads(self._choices[0])
            return work()
        # Two classes an octave: what is best depends on the size, if not on every bit of it.
        record = self._records.setdefault((kind, round(2 * math.log2(size))), _Record())
        threads = record.choose(self._choices)
        _set_threads(threads)
        started = perf_counter()
        result = work()
        record.note(threads, perf_counter() - started, size)
        return result


@dataclass(slots=True)
class _Record:
    """What like work took, in seconds per unit of its size, by threads."""

    seconds: dict[int, float] = field(default_factory=dict)
    calls: int = 0
    probed_at: int = 0
    large: bool = False

    def choose(self, choices: Sequence[int]) -> int:
        """The most threads, before anything is known."""
        if self.large or not self.seconds:
            return choices[0]
        for threads in choices:
            if threads not in self.seconds:
                return threads
        best, other = sorted(self.seconds, key=lambda threads: self.seconds[threads])[:2]
        loss = self.seconds[other] / self.seconds[best] - 1
        if self.calls - self.probed_at < max(PROBE_INTERVAL, loss / PROBE_SHARE):
            return best
        self.probed_at = self.calls
        return other

    def note(self, threads: int, seconds: float, size: int) -> None:
        self.calls += 1
        # The very first call pays for kernels and memory: it says nothing.
        if self.calls == 1:
            return
        self.large = seconds > LARGE and not len(self.seconds) > 1
        before = self.seconds.get(threads, seconds / size)
        self.seconds[threads] = before + SMOOTHING * (seconds / size - before)


def _set_threads(threads: int) -> None:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
