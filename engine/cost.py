"""What a unit of some work takes, as a moving average."""

from __future__ import annotations

import math

SMOOTHING = 0.3


class CostEstimate:
    """Learns seconds per unit."""

    def __init__(self) -> None:
        self.seconds_per_unit: float | None = None

    def record(self, units: int, seconds: float) -> None:
        """``units`` >= 1 units took ``seconds`` together."""
        latest = seconds / units
        before = latest if self.seconds_per_unit is None else self.seconds_per_unit
        self.seconds_per_unit = before + SMOOTHING * (latest - before)

    def estimate(self, units: int) -> float:
        """Seconds that ``units`` will take; infinite before anything is known."""
        return math.inf if self.seconds_per_unit is None else self.seconds_per_unit * units

    def affordable(self, seconds: float) -> int:
        """Units that fit into ``seconds``; one before anything is known."""
        if not self.seconds_per_unit:
            return 1
        return int(seconds / self.seconds_per_unit)
