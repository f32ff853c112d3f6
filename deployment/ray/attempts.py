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
# Between the loss of a replica, or its refusal, and the next attempt: times their number, up to a
# second.
PAUSE_SECONDS: Final = 0.2


class Attempts:
    """What became of a request until now.

    Args:
        deadline: seconds that replicas may have it, all together.
        start_seconds: how long it may be refused by replicas that end, until another one has come.

    Attributes:
        avoid: names of replicas that were lost, end or had no room.
    """

    def __init__(self, deadline: float, start_seconds: float) -> None:
        self.avoid: tuple[str, ...] = ()
        self._lost = 0
        self._refused = 0
        self._start_seconds = start_seconds
        self._refused_since: float | None = None
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

    @property
    def pause(self) -> float:
        """Seconds to wait before the next one."""
        return min(1.0, PAUSE_SECONDS * (self._lost + self._refused))

    def another(self, event: Event, replica: str | None, *, accepted: bool = True) -> bool:
        """Whether another replica is to be asked, as ``event`` is what this one ends with.

        Args:
            replica: the name of this one; None where none has taken the request.
            accepted: whether its engine did not refuse it at once.
        """
        if not isinstance(event, Failed):
            return False
        known = replica in self.avoid
        if replica is not None and not known:
            self.avoid = (*self.avoid, replica)
        match event.code:
            case ErrorCode.NOT_READY if not accepted:
                # It ends, and this request is not what it ends of.
                self._refused += 1
                self._refused_since = self._refused_since or monotonic()
                return monotonic() - self._refused_since < self._start_seconds
            case ErrorCode.NOT_READY:
                self._lost += 1
                return self._lost <= MOST_LOST
            case ErrorCode.BUSY:
                # One that was asked before is asked again only where there is no other.
                self._full += 1
                return replica is not None and not known and self._full < MOST_ASKED
            case _:
                return False
