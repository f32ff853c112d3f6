"""The throughput of the engine: how fast pictures are done, all in all."""

from __future__ import annotations

from time import monotonic

SMOOTHING = 0.2
LONGEST_WAIT = 120.0  # seconds


class Throughput:
    """Learns the seconds between two pictures."""

    def __init__(self) -> None:
        self._seconds = 1.0
        self._last = 0.0

    def done(self, submitted_at: float) -> None:
        """A picture that was asked for at that time (``time.monotonic()``) is done now."""
        now = monotonic()
        # Pictures come at this interval when the engine is busy; one that had the engine to itself
        # since the last one says what it took itself.
        interval = now - max(self._last, submitted_at)
        self._seconds += SMOOTHING * (interval - self._seconds)
        self._last = now

    def wait(self, pictures: int) -> float:
        """Seconds until so many are done, in a range that makes sense to a client: 1 to 120."""
        return round(min(max(self._seconds * pictures, 1.0), LONGEST_WAIT), 1)
