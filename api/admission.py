"""Admission: a request whose body is read and whose pictures are decoded is admitted.

What is not admitted yet has cost its client nothing but an upload: a shutdown does not wait for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from contract.errors import ErrorCode, RequestError


class Candidate:
    """A request that may still be refused.

    Attributes:
        waits: whether it is just waiting for its admission.
        closed: whether none is admitted any more.
    """

    def __init__(self) -> None:
        self.waits = False
        self.closed = False


_candidate: ContextVar[Candidate | None] = ContextVar("candidate", default=None)


@contextmanager
def of(candidate: Candidate) -> Iterator[None]:
    """Tasks that are created in the block serve this candidate."""
    token = _candidate.set(candidate)
    try:
        yield
    finally:
        _candidate.reset(token)


@contextmanager
def awaited() -> Iterator[None]:
    """The request of this context waits for its admission, in the block: it may be cancelled.

    Raises:
        RequestError: NOT_READY once there are no more admissions.
    """
    candidate = _candidate.get()
    if candidate is None:
        yield
        return
    if candidate.closed:
        raise shutting_down()
    candidate.waits = True
    try:
        yield
    finally:
        candidate.waits = False


def shutting_down() -> RequestError:
    """The error of a request that comes too late."""
    return RequestError(ErrorCode.NOT_READY, "the service is shutting down")
