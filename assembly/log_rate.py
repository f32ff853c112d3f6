"""The rate of log lines that clients or a full disk can cause as often as they like."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock
from time import monotonic


class RateLimit(logging.Filter):
    """Lets a line pass once in a while, with the number of those left out since the one before.

    Args:
        beginning: the lines meant begin so, before their arguments are filled in; all others pass.
        seconds: between two lines.
        clock: seconds, monotonic.
    """

    def __init__(
        self, beginning: str, seconds: float = 10.0, clock: Callable[[], float] = monotonic
    ) -> None:
        super().__init__()
        self._beginning = beginning
        self._seconds = seconds
        self._clock = clock
        self._next = 0.0
        self._left_out = 0
        self._lock = Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith(self._beginning):
            return True
        with self._lock:
            now = self._clock()
            if now < self._next:
                self._left_out += 1
                return False
            self._next = now + self._seconds
            if self._left_out:
                record.msg = f"{record.msg} ({self._left_out} more such lines are left out)"
                self._left_out = 0
        return True
