"""The time at which the request being served came in: its deadline counts from there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

from contract.errors import ErrorCode, RequestError

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


def remaining(deadline: float) -> float:
    """Seconds, above 0, until ``deadline`` seconds after the arrival.

    Raises:
        RequestError: DEADLINE_EXCEEDED when they have passed.
    """
    seconds = deadline - elapsed()
    if seconds <= 0:
        raise too_late(deadline)
    return seconds


def too_late(deadline: float) -> RequestError:
    """The error of a request that was not admitted within ``deadline`` seconds."""
    return RequestError(
        ErrorCode.DEADLINE_EXCEEDED, f"the request was not read within {deadline:g} seconds"
    )
