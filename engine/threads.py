"""How many CPU threads make a piece of work fastest: measured while it runs.

Threads meet at barriers hundreds of times a pass. For a small pass that costs more than they
bring, for a large one it does not, and with anything else on the cores they wait for each other's
turn (two cores, the embedded model, 16 rows: 100 ms with one thread, 65 with two, and 270 with two
beside a busy process). So no fixed number is right.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from time import perf_counter
from typing import TypeVar

import torch

Result = TypeVar("Result")

PROBE_INTERVAL = 50  # calls between two looks at the choice that was slower
SMOOTHING = 0.3


class ThreadTuner:
    """Runs pieces of work with one CPU thread or all, whichever was faster for the like lately.

    Args:
        choices: the numbers of threads to choose from; a single one is simply kept.
    """

    def __init__(self, choices: tuple[int, ...]) -> None:
        self._choices = choices
        self._seconds: dict[Hashable, dict[int, float]] = {}
        self._calls: dict[Hashable, int] = {}

    @classmethod
    def automatic(cls) -> ThreadTuner:
        """Choose between one thread and as many as torch would use."""
        return cls(tuple(sorted({1, torch.get_num_threads()})))

    def run(self, kind: Hashable, work: Callable[[], Result]) -> Result:
        """Run ``work``; calls of one ``kind`` are expected to take equally long."""
        if len(self._choices) == 1:
            _set_threads(self._choices[0])
            return work()
        seconds = self._seconds.setdefault(kind, {})
        calls = self._calls[kind] = self._calls.get(kind, -1) + 1
        threads = self._choose(seconds, calls)
        _set_threads(threads)
        started = perf_counter()
        result = work()
        elapsed = perf_counter() - started
        # The very first call of a kind pays for kernels and memory: it says nothing.
        if calls:
            before = seconds.get(threads, elapsed)
            seconds[threads] = before + SMOOTHING * (elapsed - before)
        return result

    def _choose(self, seconds: dict[int, float], calls: int) -> int:
        for threads in self._choices:
            if threads not in seconds:
                return threads
        ranked = sorted(seconds, key=lambda threads: seconds[threads])
        return ranked[1] if calls % PROBE_INTERVAL == 0 else ranked[0]


def _set_threads(threads: int) -> None:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
