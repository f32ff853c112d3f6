"""What is measured of predictions; a host says by what instruments."""

from __future__ import annotations

from typing import Protocol

from api.predictions.prediction import Prediction


class Measures(Protocol):
    """Receives measurements, in the event loop."""

    def accepted(self) -> None:
        """A new prediction was written down."""
        ...

    def begun(self, prediction: Prediction) -> None:
        """An attempt has begun."""
        ...

    def running(self, count: int) -> None:
        """So many run in this process."""
        ...

    def ended(self, prediction: Prediction) -> None:
        """One is over; each is reported once, by the process that has ended it."""
        ...

    def stored(self, unfinished: int, stored: int) -> None:
        """Predictions that are not over, and bytes of files: of the whole store."""
        ...

    def webhook(self, outcome: str) -> None:
        """An attempt to deliver: ``delivered``, ``retried`` or ``dead``."""
        ...


class NoMeasures:
    """Measures nothing."""

    def accepted(self) -> None: ...

    def begun(self, prediction: Prediction) -> None: ...

    def running(self, count: int) -> None: ...

    def ended(self, prediction: Prediction) -> None: ...

    def stored(self, unfinished: int, stored: int) -> None: ...

    def webhook(self, outcome: str) -> None: ...
