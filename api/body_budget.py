"""The body budget: what the bodies of all requests may take in memory, together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from contract.errors import ErrorCode, RequestError

# An upload takes a second or two, and so does what happens to it until its memory is free.
_RETRY_AFTER: Final = 2.0


class BodyBudget:
    """Bytes that are reserved for bodies, before they are read and until their memory is free.

    Args:
        total: bytes of all of them.
        share: bytes of those of one client.
    """

    def __init__(self, total: int, share: int) -> None:
        self._total = total
        self._share = share
        self._reserved: Counter[str] = Counter()

    @property
    def reserved(self) -> int:
        """Bytes that are reserved now."""
        return self._reserved.total()

    @contextmanager
    def reservation(self, client: str) -> Iterator[Reservation]:
        """A reservation, of nothing yet, that ends with the block."""
        reservation = Reservation(self, client)
        try:
            yield reservation
        finally:
            self.change(client, -reservation.size)

    def change(self, client: str, size: int) -> None:
        """Reserve bytes for a client, or free them. Raises ``RequestError``: BUSY."""
        own = self._reserved[client] + size
        total = self.reserved + size
        if size > 0 and total > self._total:
            raise _busy(f"the bodies of all requests may have {self._total} bytes in memory", total)
        if size > 0 and own > self._share:
            raise _busy(f"the bodies of one client may have {self._share} bytes in memory", own)
        self._reserved[client] = own
        if not own:
            del self._reserved[client]


class Reservation:
    """What is reserved for one body.

    Attributes:
        size: bytes.
    """

    def __init__(self, budget: BodyBudget, client: str) -> None:
        self._budget = budget
        self._client = client
        self.size = 0

    def cover(self, size: int) -> None:
        """Reserve what is missing to ``size`` bytes. Raises ``RequestError``: BUSY."""
        if size > self.size:
            self._budget.change(self._client, size - self.size)
            self.size = size


def _busy(limit: str, got: int) -> RequestError:
    return RequestError(
        ErrorCode.BUSY, f"{limit}, with this one they have {got}", retry_after=_RETRY_AFTER
    )
