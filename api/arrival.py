"""The time at which the request being served came in: its deadline counts from there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

# A context variable reaches every coroutine and worker thread of a request.
_arrival: ContextVar[float | None] = ContextVar("arrival", default=None)


@contextmanager
def noted() -> Iterator[None]:
    """Take this moment as the arrival of the request that is served in this context."""
    token = _arrival.set(monotonic())
    try:
        yield
    finally:
        _arrival.reset(token)


def elapsed() -> float:
    """Seconds since the request came in; 0 outside of a request."""
    arrival = _arrival.get()
    return 0.0 if arrival is None else monotonic() - arrival
