"""The fair queue: whose turn it is, by the time that each has had."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class FairQueue(Generic[Key]):
    """Gives every key that has work the same time (fair queueing by virtual time, Demers, Keshav
    and Shenker 1989, https://dl.acm.org/doi/10.1145/75247.75248).

    So one with long pieces of work does not keep others waiting, nor one with many pieces one with
    few.
    """

    def __init__(self) -> None:
        self._seconds: dict[Key, float] = {}  # the virtual time of each key that has work
        self._now = 0.0

    def __contains__(self, key: Key) -> bool:
        """Whether a key had work at the last ``pick``, or owes time."""
        return key in self._seconds

    def pick(self, keys: Collection[Key]) -> Key:
        """The key, of those that have work, that has had the least time; the first of equals.

        Raises:
            ValueError: there is none.
        """
        # A new key has no claim on the time before it came, but one that had more than its share
        # comes back with what it owes.
        owing = {key: time for key, time in self._seconds.items() if time > self._now}
        self._seconds = owing | {key: self._seconds.get(key, self._now) for key in keys}
        first = self.least(keys)
        self._now = self._seconds[first]
        return first

    def least(self, keys: Collection[Key]) -> Key:
        """The same, but that all keep their claims: where a turn goes to some of them only."""
        return min(keys, key=lambda key: self._seconds.get(key, self._now))

    def debt(self, key: Key) -> float:
        """Seconds that a key has had more than its share."""
        return max(0.0, self._seconds.get(key, self._now) - self._now)

    def ahead(self, key: Key, other: Key) -> float:
        """Seconds that a key has had more than another one; below zero where it had less."""
        return self._seconds.get(key, self._now) - self._seconds.get(other, self._now)

    def charge(self, key: Key, seconds: float) -> None:
        """Work for this key took so long."""
        self._seconds[key] = self._seconds.get(key, self._now) + seconds
