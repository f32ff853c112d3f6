"""The fair queue: whose turn it is, by the time that each has had."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class FairQueue(Generic[Key]):
    """Gives every key that has work the same time (fair queueing by virtual time, Demers, Keshav
    and Shenker 1989, https://dl.acm.org/doi/10.1145/75247.75248).

    So large pictures, with their long passes, do not keep small ones waiting, nor a tenant with
    many jobs one with few.
    """

    def __init__(self) -> None:
        self._seconds: dict[Key, float] = {}  # the virtual time of each key that has work
        self._now = 0.0

    def pick(self, keys: Collection[Key]) -> Key:
        """The key, of those that have work, that has had the least time.

        Raises:
            ValueError: there is none.
        """
        # A new key has no claim on the time before it came.
        self._seconds = {key: self._seconds.get(key, self._now) for key in keys}
        first = min(self._seconds, key=lambda key: self._seconds[key])
        self._now = self._seconds[first]
        return first

    def charge(self, key: Key, seconds: float) -> None:
        """Work for this key took so long."""
        if key in self._seconds:
            self._seconds[key] += seconds
