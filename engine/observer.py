"""What the engine tells whoever measures it."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Phase(StrEnum):
    """The parts of a job's life, in order."""

    QUEUE = "queue"
    PREPARE = "prepare"
    DENOISE = "denoise"
    DECODE = "decode"
    ENCODE = "encode"


class Observer(Protocol):
    """Receives measurements; called from the engine's threads, so it must be quick and safe."""

    def depth(self, waiting: int, running: int) -> None:
        """Jobs not yet admitted, and jobs being denoised."""
        ...

    def denoised(self, jobs: int, rows: int, seconds: float) -> None:
        """One denoiser pass over ``jobs`` jobs that filled ``rows`` rows."""
        ...

    def phase(self, phase: Phase, seconds: float) -> None:
        """A job spent ``seconds`` in ``phase``."""
        ...

    def finished(self, outcome: str) -> None:
        """A job ended: ``ok``, or the value of an ``ErrorCode``."""
        ...


class Silent:
    """An observer that measures nothing."""

    def depth(self, waiting: int, running: int) -> None: ...

    def denoised(self, jobs: int, rows: int, seconds: float) -> None: ...

    def phase(self, phase: Phase, seconds: float) -> None: ...

    def finished(self, outcome: str) -> None: ...
