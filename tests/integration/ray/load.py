"""A load of small pictures, and what became of each request."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.integration.ray.cluster import Cluster
from tests.integration.server import WAIT_SECONDS


class Load:
    """Clients that ask for one picture after another.

    Args:
        cluster: whom they ask.
        clients: how many, each with a connection of its own.
        fields: of the requests.

    Attributes:
        sent: how many requests there were.
        statuses: how many answers of each status there were; a broken connection counts as 0.
        failures: the bodies of those that are not 200.
        failed_at: when those were sent (``time.monotonic()``).
    """

    def __init__(self, cluster: Cluster, clients: int, fields: dict[str, Any]) -> None:
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self.failed_at: list[float] = []
        self.sent = 0
        self._cluster = cluster
        self._fields = fields
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    @property
    def done(self) -> int:
        """Answers until now."""
        return self.statuses.total()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ask in the block, and wait for the last answers at its end."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._end.set()
            for thread in self._threads:
                thread.join()

    def _ask(self) -> None:
        with httpx.Client(base_url=self._cluster.url, timeout=WAIT_SECONDS) as client:
            while not self._end.is_set():
                sent = time.monotonic()
                with self._lock:
                    self.sent += 1
                try:
                    answer = client.post("/txt2img", json=self._fields)
                    status, text = answer.status_code, "" if answer.is_success else answer.text
                    if answer.is_success:
                        assert answer.content.startswith(b"\x89PNG")
                except httpx.TransportError as error:
                    status, text = 0, repr(error)
                with self._lock:
                    self.statuses[status] += 1
                    if status != 200:
                        self.failures.append(text)
                        self.failed_at.append(sent)
