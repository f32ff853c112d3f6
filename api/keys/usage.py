"""The usage: what each key has asked for since midnight (UTC)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Final, Self

DAY: Final = 86400


@dataclass(frozen=True, slots=True)
class Used:
    """What one key has had.

    Attributes:
        requests: of any kind.
        pictures: accepted by the engine, of work that was not lost by a fault of the service.
        pixel_steps: width x height x steps of those.
    """

    requests: int = 0
    pictures: int = 0
    pixel_steps: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


NOTHING: Final = Used()


class Usage:
    """Counts by key, and begins anew each day. What others that share a store have counted is
    added by ``settle`` (``api.keys.ledger``)."""

    def __init__(self) -> None:
        self._day = today()
        self._used: dict[str, Used] = {}
        self._owed: dict[tuple[int, str], Used] = {}

    def of(self, key: str) -> Used:
        """What a key has had today."""
        self._turn()
        return self._used.get(key, NOTHING)

    def add(self, key: str, used: Used) -> None:
        """Count what a key has, or with negative numbers what it has not had after all."""
        self._turn()
        self._used[key] = self._used.get(key, NOTHING) + used
        self._owe(self._day, key, used)

    def take_owed(self) -> dict[tuple[int, str], Used]:
        """What was counted here since the last call, by day and key; it is to be written down."""
        owed, self._owed = self._owed, {}
        return owed

    def put_back(self, owed: Mapping[tuple[int, str], Used]) -> None:
        """It could not be."""
        for (day, key), used in owed.items():
            self._owe(day, key, used)

    def settle(self, day: int, totals: Mapping[str, Used]) -> None:
        """Go on from what is written down of a day, and what was counted here since then."""
        self._turn()
        if day == self._day:
            self._used = dict(totals)
            for (of, key), used in self._owed.items():
                if of == day:
                    self._used[key] = self._used.get(key, NOTHING) + used

    def _owe(self, day: int, key: str, used: Used) -> None:
        self._owed[day, key] = self._owed.get((day, key), NOTHING) + used

    def _turn(self) -> None:
        if self._day != today():
            self._day = today()
            self._used = {}


def today() -> int:
    """The number of the day, since 1970 (UTC)."""
    return int(time.time()) // DAY
