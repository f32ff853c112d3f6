"""The observer: receives what the engine measures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from contract.screening import Action, CheckName


class Phase(StrEnum):
    """The parts of a job's life, in order."""

    QUEUE = "queue"
    PREPARE = "prepare"
    DENOISE = "denoise"
    DECODE = "decode"
    SCREEN = "screen"
    ENCODE = "encode"


class RowOutcome(StrEnum):
    """The outcome of a denoiser pass's rows."""

    USEFUL = "useful"  # of a job whose picture was delivered
    ABANDONED = "abandoned"  # of a job that ended without a picture, before it was cancelled
    WASTED = "wasted"  # of a job that had been cancelled already
    PADDING = "padding"  # of no job: added to reach a bucket


class WeightKind(StrEnum):
    """The kinds of weights that are loaded and evicted."""

    MODEL = "model"
    LORA = "lora"


@dataclass(frozen=True, slots=True)
class Pass:
    """One denoiser pass.

    Attributes:
        model: catalog name.
        size: width and height of its pictures in pixels; with mixed sizes, of the first job's.
        jobs: the name of each job that took part (request id and picture index).
        job_rows: how many rows each of them had.
        lora_sets: how many different sets of LoRAs its rows had.
        rows: rows of the batch, padding included.
        started: ``time.monotonic()``.
        seconds: how long it took on the device, with the schedulers' steps.
    """

    model: str
    size: tuple[int, int]
    jobs: tuple[str, ...]
    job_rows: tuple[int, ...]
    lora_sets: int
    rows: int
    started: float
    seconds: float


class Observer(Protocol):
    """Receives measurements; called from the engine's threads, so it must be quick and safe."""

    def depth(self, waiting: int, running: int) -> None:
        """Jobs not yet admitted, and jobs being denoised."""
        ...

    def denoised(self, done: Pass) -> None:
        """One denoiser pass was made."""
        ...

    def spent(self, outcome: RowOutcome, row_steps: int) -> None:
        """``row_steps`` rows of passes (one row in one pass counts one) had this outcome."""
        ...

    def loaded(self, kind: WeightKind, name: str, seconds: float, total: int) -> None:
        """A model or a LoRA was loaded within ``seconds``; all of them now take ``total`` bytes."""
        ...

    def evicted(self, kind: WeightKind, name: str, total: int) -> None:
        """A model or a LoRA was evicted; what is left takes ``total`` bytes."""
        ...

    def phase(self, phase: Phase, seconds: float) -> None:
        """A job spent ``seconds`` in ``phase``."""
        ...

    def out_of_memory(self) -> None:
        """A denoiser pass did not fit into memory, and is taken again with fewer rows."""
        ...

    def screened(self, check: CheckName, action: Action) -> None:
        """A check found something in a picture, and that is done about it."""
        ...

    def finished(self, outcome: str) -> None:
        """A job ended: ``ok``, or the value of an ``ErrorCode``."""
        ...


class NullObserver:
    """An observer that measures nothing."""

    def depth(self, waiting: int, running: int) -> None: ...

    def denoised(self, done: Pass) -> None: ...

    def spent(self, outcome: RowOutcome, row_steps: int) -> None: ...

    def loaded(self, kind: WeightKind, name: str, seconds: float, total: int) -> None: ...

    def evicted(self, kind: WeightKind, name: str, total: int) -> None: ...

    def phase(self, phase: Phase, seconds: float) -> None: ...

    def out_of_memory(self) -> None: ...

    def screened(self, check: CheckName, action: Action) -> None: ...

    def finished(self, outcome: str) -> None: ...
