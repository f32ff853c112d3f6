"""The usage: what each key has asked for since midnight (UTC), in this process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime


@dataclass(slots=True)
class Used:
    """What one key has had.

    Attributes:
        requests: of any kind.
        pictures: accepted by the engine, of work that was not lost by a fault of the service.
        pixel_steps: width x height x steps of those.
    """

    requests: int = 0
    pictures: int = 0
    pixel_steps: int = 0


class Usage:
    """Counts by key, and begins anew each day."""

    def __init__(self) -> None:
        self._day = _today()
        self._used: dict[str, Used] = {}

    def of(self, key: str) -> Used:
        """What a key has had today, to be read or added to."""
        today = _today()
        if today != self._day:
            self._day = today
            self._used = {}
        return self._used.setdefault(key, Used())


def _today() -> date:
    return datetime.now(UTC).date()
