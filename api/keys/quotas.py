"""The quotas of a key: rates of the ``limits`` package, and the headers that tell of them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import limits
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

from api.keys.key import Key

REQUESTS: Final = "requests"
PICTURES: Final = "pictures"
PIXEL_STEPS: Final = "pixel-steps"


@dataclass(frozen=True, slots=True)
class Left:
    """How a quota stands.

    Attributes:
        quota: in ``window`` seconds.
        remaining: of it.
        reset: seconds until there is more.
    """

    quota: int
    window: int
    remaining: int
    reset: int


class Quotas:
    """Counts what keys use of their quotas, in the memory of this process.

    Each request counts for the time of its rate, so that no minute has more of them. Pictures and
    pixel-steps count from the first one on for 24 hours: what was not made can be given back.
    """

    def __init__(self) -> None:
        # The limiters share it, and keep no more than a reference.
        self._storage = MemoryStorage()
        self._moving = MovingWindowRateLimiter(self._storage)
        self._fixed = FixedWindowRateLimiter(self._storage)

    def take(self, key: Key, amounts: Mapping[str, int]) -> tuple[str, Left] | None:
        """Take amounts of several quotas, or nothing; returns the first one that has not enough."""
        rates = _rates(key)
        for name, amount in amounts.items():
            rate = rates.get(name)
            if rate and not self._limiter(name).test(rate, key.id, name, cost=amount):
                return name, self._left(key, name, rate)
        for name, amount in amounts.items():
            if rate := rates.get(name):
                self._limiter(name).hit(rate, key.id, name, cost=amount)
        return None

    def give_back(self, key: Key, amounts: Mapping[str, int]) -> None:
        """Add to fixed quotas what was taken from them."""
        for name, amount in amounts.items():
            if rate := _rates(key).get(name):
                self._storage.decr(rate.key_for(key.id, name), amount)

    def left(self, key: Key) -> dict[str, Left]:
        """How the quotas of a key stand, by their names."""
        return {name: self._left(key, name, rate) for name, rate in _rates(key).items()}

    def _left(self, key: Key, name: str, rate: limits.RateLimitItem) -> Left:
        stats = self._limiter(name).get_window_stats(rate, key.id, name)
        reset = max(1, math.ceil(stats.reset_time - time.time()))
        return Left(rate.amount, rate.get_expiry(), stats.remaining, reset)

    def _limiter(self, name: str) -> MovingWindowRateLimiter | FixedWindowRateLimiter:
        return self._moving if name == REQUESTS else self._fixed


def headers(quotas: Mapping[str, Left]) -> dict[str, str]:
    """``RateLimit`` and ``RateLimit-Policy`` (draft-ietf-httpapi-ratelimit-headers-10); nothing
    where there are no quotas."""
    if not quotas:
        return {}
    return {
        "RateLimit-Policy": ", ".join(
            f'"{name}";q={left.quota};w={left.window}' for name, left in quotas.items()
        ),
        "RateLimit": ", ".join(
            f'"{name}";r={left.remaining};t={left.reset}' for name, left in quotas.items()
        ),
    }


def _rates(key: Key) -> dict[str, limits.RateLimitItem]:
    rates: dict[str, limits.RateLimitItem] = {}
    if key.rate is not None:
        rates[REQUESTS] = limits.parse(key.rate)
    if key.pictures_per_day is not None:
        rates[PICTURES] = limits.RateLimitItemPerDay(key.pictures_per_day)
    if key.pixel_steps_per_day is not None:
        rates[PIXEL_STEPS] = limits.RateLimitItemPerDay(key.pixel_steps_per_day)
    return rates
