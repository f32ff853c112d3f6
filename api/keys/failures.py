"""Failures: wrong keys, of which an address has only so many."""

from __future__ import annotations

import math
import time
from typing import Final

import limits
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

_RATE: Final = limits.RateLimitItemPerMinute(10)


class Failures:
    """Counts the wrong keys of each address."""

    def __init__(self) -> None:
        self._storage = MemoryStorage()
        self._limiter = FixedWindowRateLimiter(self._storage)

    def note(self, address: str) -> int | None:
        """Count one; returns the seconds until there may be more, where it is one too many."""
        if self._limiter.hit(_RATE, address):
            return None
        reset = self._limiter.get_window_stats(_RATE, address).reset_time
        return max(1, math.ceil(reset - time.time()))
