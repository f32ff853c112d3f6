"""The quotas of a key: a rate of the ``limits`` package and those of a day, and their headers."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import limits
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from api.keys.key import Key
from api.keys.usage import DAY, Usage

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
    """What keys have left of their quotas.

    Each request counts for the time of its rate, in the memory of this process, so that no minute
    has more of them. Pictures and pixel-steps count until midnight (UTC).

    Args:
        usage: has what was used of those of a day.
    """

    def __init__(self, usage: Usage) -> None:
        self._usage = usage
        # The limiter keeps no more than a reference.
        self._storage = MemoryStorage()
        self._rates = MovingWindowRateLimiter(self._storage)

    def take_request(self, key: Key) -> Left | None:
        """Take a request, or say how its quota stands."""
        if key.rate is None or self._rates.hit(limits.parse(key.rate), key.id):
            return None
        return self.left(key)[REQUESTS]

    def missing(self, key: Key, amounts: Mapping[str, int]) -> tuple[str, Left] | None:
        """The first quota of a day that has less left than these amounts."""
        for name, left in self._of_a_day(key).items():
            if amounts[name] > left.remaining:
                return name, left
        return None

    def left(self, key: Key) -> dict[str, Left]:
        """How the quotas of a key stand, by their names."""
        return self._of_a_while(key) | self._of_a_day(key)

    def _of_a_while(self, key: Key) -> dict[str, Left]:
        if key.rate is None:
            return {}
        rate = limits.parse(key.rate)
        stats = self._rates.get_window_stats(rate, key.id)
        reset = max(1, math.ceil(stats.reset_time - time.time()))
        return {REQUESTS: Left(rate.amount, rate.get_expiry(), stats.remaining, reset)}

    def _of_a_day(self, key: Key) -> dict[str, Left]:
        used = self._usage.of(key.id)
        reset = max(1, math.ceil(DAY - time.time() % DAY))
        quotas = {
            PICTURES: (key.pictures_per_day, used.pictures),
            PIXEL_STEPS: (key.pixel_steps_per_day, used.pixel_steps),
        }
        return {
            name: Left(quota, DAY, max(0, quota - taken), reset)
            for name, (quota, taken) in quotas.items()
            if quota is not None
        }


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
