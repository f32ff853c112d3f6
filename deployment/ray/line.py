"""The line: requests that wait until a replica takes them, and how many pictures are in front."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile


class Place:
    """A request's place in a line."""

    def __init__(self, line: Line) -> None:
        self._line = line

    @property
    def position(self) -> int:
        """How many pictures wait in front."""
        return self._line.in_front_of(self)


class Line:
    """Those who wait for the same deployment in this process, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: dict[Place, int] = {}

    @contextmanager
    def joined(self, pictures: int) -> Iterator[Place]:
        """Wait in the block, with so many pictures."""
        place = Place(self)
        self._waiting[place] = pictures
        try:
            yield place
        finally:
            del self._waiting[place]

    def in_front_of(self, place: Place) -> int:
        return sum(
            self._waiting[one] for one in takewhile(lambda one: one is not place, self._waiting)
        )
