"""Cost estimates: what a unit of some work takes, as a moving average."""

from __future__ import annotations

SMOOTHING = 0.3
TRUSTED = 20  # records from which the least is a bound: kernels and threads are settled by then


class CostEstimate:
    """Learns seconds per unit.

    Attributes:
        seconds_per_unit: lately; None before anything is known.
    """

    def __init__(self) -> None:
        self.seconds_per_unit: float | None = None
        self._least = float("inf")
        self._records = 0

    @property
    def least(self) -> float:
        """Seconds that a unit takes at least; 0 before enough is known."""
        return self._least if self._records >= TRUSTED else 0.0

    def record(self, units: int, seconds: float) -> None:
        """``units`` >= 1 units took ``seconds`` together."""
        latest = seconds / units
        # The first record pays for kernels and memory: the second one takes its place.
        before = latest if self._records < 2 else self.seconds_per_unit or 0.0
        self.seconds_per_unit = before + SMOOTHING * (latest - before)
        self._least = min(self._least, latest)
        self._records += 1

    def estimate(self, units: int) -> float | None:
        """Seconds that ``units`` will take; None before anything is known."""
        return None if self.seconds_per_unit is None else self.seconds_per_unit * units

    def affordable(self, seconds: float) -> int:
        """Units that fit into ``seconds``; one before anything is known."""
        if not self.seconds_per_unit:
            return 1
        return int(seconds / self.seconds_per_unit)
