"""The open connections of a server: how many there may be, and which one gives way to a new one."""

from __future__ import annotations

import logging
import resource
from collections import Counter
from typing import Protocol

logger = logging.getLogger(__name__)

# Files that a process has open beside its connections: those accepted and not counted yet (a
# backlog), to the runners (one for each job and classification), libraries, logs.
_OTHER_FILES = 512


class Displaceable(Protocol):
    """A connection as this module sees it.

    Attributes:
        address: what ``api.clients.identity`` makes of the client's; empty where there is none.
    """

    address: str

    def displace(self) -> None:
        """Close at once."""


class Connections:
    """Bounds the number of connections.

    Those without a request in flight are waiting. A new connection displaces the one that has been
    waiting longest, of the address that has most connections and a waiting one: idle connections of
    one client cannot keep others out, however many they are. One address has three quarters of the
    places at most, so neither can busy ones.

    Args:
        limit: connections at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._share = max(1, limit * 3 // 4)
        self._addresses: dict[Displaceable, str] = {}
        self._of_address: Counter[str] = Counter()
        # Of each address in the order in which they began to wait.
        self._waiting: dict[str, dict[Displaceable, None]] = {}

    def __len__(self) -> int:
        return len(self._addresses)

    def add(self, connection: Displaceable) -> bool:
        """Count a connection in. False: the others are all busy, and it should be refused."""
        address = connection.address
        self._make_place(address)
        has_place = self._of_address[address] < self._share and len(self) < self._limit
        self._addresses[connection] = address
        self._of_address[address] += 1
        return has_place

    def remove(self, connection: Displaceable) -> None:
        """Count a connection out, if it is still counted in."""
        address = self._addresses.pop(connection, None)
        if address is None:
            return
        self._stop_waiting(connection, address)
        self._of_address[address] -= 1
        if not self._of_address[address]:
            del self._of_address[address]

    def wait(self, connection: Displaceable) -> None:
        """It has no request in flight; one that waits already keeps its place."""
        address = self._addresses.get(connection)
        if address is not None:
            self._waiting.setdefault(address, {}).setdefault(connection)

    def work(self, connection: Displaceable) -> None:
        """It has a request in flight."""
        address = self._addresses.get(connection)
        if address is not None:
            self._stop_waiting(connection, address)

    def _stop_waiting(self, connection: Displaceable, address: str) -> None:
        waiting = self._waiting.get(address, {})
        waiting.pop(connection, None)
        if not waiting:
            self._waiting.pop(address, None)

    def _make_place(self, address: str) -> None:
        """Close the connection that gives way to a new one of this address, if one has to."""
        own = self._of_address[address] >= self._share
        if not own and len(self) < self._limit:
            return
        logger.warning(
            "all places for connections are taken: %d%s",
            self._share if own else self._limit,
            " of one address" if own else "",
        )
        if own:
            candidate = address
        else:
            candidate = max(self._waiting, key=self._of_address.__getitem__, default=address)
        if candidate in self._waiting:
            oldest = next(iter(self._waiting[candidate]))
            self.remove(oldest)
            oldest.displace()


def within_file_limit(connections: int) -> int:
    """How many of ``connections`` this process has file descriptors for, after raising the limit.

    Its soft limit on open files is raised as far as need be and the hard one allows.
    """
    needed = connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return connections
    allowed = max(soft - _OTHER_FILES, soft // 2)
    logger.warning(
        "at most %d open files are allowed: SD_MAX_CONNECTIONS is %d instead of %d",
        soft,
        allowed,
        connections,
    )
    return allowed
