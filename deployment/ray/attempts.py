"""The attempts at a request: which replicas have had it, and whether another one is to be asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from contract.errors import ErrorCode
from contract.events import Event, Failed

# Replicas that a request may lose: one that so many do not survive is likely at fault itself.
MOST_LOST: Final = 3
# Replicas that it asks for room.
MOST_ASKED: Final = 3


class Attempts:
    """What became of a request until now.

    Args:
        deadline: seconds that replicas may have it, all together.

    Attributes:
        avoid: names of replicas that were lost or had no room.
        lost: how many were lost.
    """

    def __init__(self, deadline: float) -> None:
        self.avoid: tuple[str, ...] = ()
        self.lost = 0
        self._full = 0
        self._left = deadline
        self._since: float | None = None

    @property
    def seconds_left(self) -> float:
        """Of the deadline, which counts while a replica has the request."""
        running = 0.0 if self._since is None else monotonic() - self._since
        return max(0.0, self._left - running)

    @contextmanager
    def at(self) -> Iterator[None]:
        """A replica has the request, in the block."""
        self._since = monotonic()
        try:
            yield
        finally:
            self._left, self._since = self.seconds_left, None

    def another(self, event: Event, replica: str | None) -> bool:
        """Whether another replica is to be asked, as ``event`` is what this one ends with.

        Args:
            replica: the name of this one; None where none has taken the request.
        """
        if not isinstance(event, Failed):
            return False
        known = replica in self.avoid
        if replica is not None and not known:
            self.avoid = (*self.avoid, replica)
        match event.code:
            case ErrorCode.NOT_READY:
                self.lost += 1
                return self.lost <= MOST_LOST
            case ErrorCode.BUSY:
                # One that was asked before is asked again only where there is no other.
                self._full += 1
                return replica is not None and not known and self._full < MOST_ASKED
            case _:
                return False
