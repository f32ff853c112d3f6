"""The watchdog: notices when work on the device does not come to an end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic


class Watchdog:
    """Watches one piece of work at a time, from a thread of its own.

    Args:
        seconds: that a piece of work may take.
        bark: called once with ``seconds`` when one takes longer.
    """

    def __init__(self, seconds: float, bark: Callable[[float], None]) -> None:
        self._seconds = seconds
        self._bark = bark
        self._began: float | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """A piece of work begins."""
        self._began = monotonic()

    def end(self) -> None:
        """It has come to an end."""
        self._began = None

    def close(self) -> None:
        """Watch no more."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(self._seconds / 10):
            began = self._began
            if began is not None and monotonic() - began > self._seconds:
                self._bark(self._seconds)
                return
