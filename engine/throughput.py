"""The throughput of the engine: how much work it does in a second in which it has some."""

from __future__ import annotations

from math import exp
from time import monotonic

MEMORY = 30.0  # seconds of work after which what was measured counts for a third (1/e)
LONGEST_WAIT = 120.0  # seconds
PICTURE_SECONDS = 1.0  # before anything is known


class Throughput:
    """Learns work per second, over so long a time that it does not matter whether pictures are done
    one by one or in batches.

    Work is in row-steps x pixels, so that neither does it matter which pictures are done first.
    """

    def __init__(self) -> None:
        self._work = 0.0
        self._seconds = 0.0
        self._since = 0.0

    def began(self) -> None:
        """There is work again, after a time without any."""
        self._since = monotonic()

    def did(self, work: float) -> None:
        """A job has ended, for which so much was done."""
        now = monotonic()
        seconds, self._since = now - self._since, now
        kept = exp(-seconds / MEMORY)
        self._work = self._work * kept + work
        self._seconds = self._seconds * kept + seconds

    def wait(self, work: float, pictures: int) -> float:
        """Seconds until so much is done, in a range that makes sense to a client: 1 to 120.

        Args:
            work: what is left of all jobs.
            pictures: the number of these jobs, by which it goes before anything is known.
        """
        known = self._work > 0
        seconds = work * self._seconds / self._work if known else PICTURE_SECONDS * pictures
        return round(min(max(seconds, 1.0), LONGEST_WAIT), 1)
