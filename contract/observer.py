"""What the engine tells whoever measures it."""

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
    """What became of the rows of a denoiser pass."""

    USEFUL = "useful"  # of a job whose picture was delivered
    ABANDONED = "abandoned"  # of a job that ended without a picture, until it was given up
    WASTED = "wasted"  # of a job that had been given up already
    PADDING = "padding"  # of nobody: added to reach a bucket


class WeightKind(StrEnum):
    """What is brought into memory and makes room there."""

    MODEL = "model"
    LORA = "lora"


@dataclass(frozen=True, slots=True)
class Pass:
    """One denoiser pass.

    Attributes:
        model: catalog name.
        size: width and height of its pictures in pixels.
        jobs: the name of each job that took part (request id and picture index).
        job_rows: how many rows each of them had.
        lora_sets: how many different sets of LoRAs its rows had.
        rows: rows of the batch, padding included.
        started: ``time.monotonic()``.
        seconds: how long it took, with the schedulers' steps.
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

    def spent(self, fate: RowOutcome, row_steps: int) -> None:
        """``row_steps`` rows of passes (one row in one pass counts one) turned out to be ..."""
        ...

    def loaded(self, kind: WeightKind, name: str, seconds: float, total: int) -> None:
        """A model or a LoRA was loaded within ``seconds``; all of them now take ``total`` bytes."""
        ...

    def dropped(self, kind: WeightKind, name: str, total: int) -> None:
        """A model or a LoRA made room; what is left takes ``total`` bytes."""
        ...

    def phase(self, phase: Phase, seconds: float) -> None:
        """A job spent ``seconds`` in ``phase``."""
        ...

    def found(self, check: CheckName, action: Action) -> None:
        """A check found something in a picture, and that is done about it."""
        ...

    def finished(self, outcome: str) -> None:
        """A job ended: ``ok``, or the value of an ``ErrorCode``."""
        ...


class Silent:
    """An observer that measures nothing."""

    def depth(self, waiting: int, running: int) -> None: ...

    def denoised(self, done: Pass) -> None: ...

    def spent(self, fate: RowOutcome, row_steps: int) -> None: ...

    def loaded(self, kind: WeightKind, name: str, seconds: float, total: int) -> None: ...

    def dropped(self, kind: WeightKind, name: str, total: int) -> None: ...

    def phase(self, phase: Phase, seconds: float) -> None: ...

    def found(self, check: CheckName, action: Action) -> None: ...

    def finished(self, outcome: str) -> None: ...
