"""Places: how many requests may be at something at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from contract.errors import ErrorCode, RequestError


class Places:
    """A bound on requests, and on those of one client among them.

    Args:
        most: of all clients.
        share: of one client.
        what: the sentence's end, after ``at most 64 requests may``.
        retry_after: seconds after which one that finds no place may try again.
    """

    def __init__(self, most: int, share: int, what: str, retry_after: float) -> None:
        self._most = most
        self._share = share
        self._what = what
        self._retry_after = retry_after
        self._taken: Counter[str] = Counter()

    def check(self, client: str) -> None:
        """Raises ``RequestError``: BUSY where a client would find no place now."""
        if self._taken.total() >= self._most:
            self._refuse(f"at most {self._most} requests may {self._what}")
        if self._taken[client] >= self._share:
            self._refuse(f"at most {self._share} requests of one client may {self._what}")

    @contextmanager
    def taken(self, client: str) -> Iterator[None]:
        """Hold a place in the block. Raises ``RequestError``: BUSY."""
        self.check(client)
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]

    def _refuse(self, limit: str) -> None:
        raise RequestError(ErrorCode.BUSY, limit, retry_after=self._retry_after)
