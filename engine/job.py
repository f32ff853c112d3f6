"""One picture on its way through the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from contract.errors import ErrorCode, RequestError
from contract.events import Event
from contract.request import GenerationRequest
from engine.denoising.state import DenoisingState

PROGRESS_INTERVAL = 0.1  # seconds: nobody watches more than ten steps a second


@dataclass(slots=True, eq=False)
class Job:
    """One picture of a submitted request.

    Attributes:
        request: what to draw; its ``num_images`` is 1 and its seed that of this picture.
        index: which picture of the submitted request, 0 for the first.
        report: receives the job's events; called from the engine's threads.
        submitted_at: ``time.monotonic()`` of the submission; likewise ``admitted_at`` of the
            admission, ``served_at`` of the last denoiser pass and ``reported_at`` of the last
            progress event.
        state: the denoising, from the admission to the decoding.
        row_steps: denoiser work so far: rows, summed over the passes.
    """

    request: GenerationRequest
    index: int
    report: Callable[[Event], None]
    submitted_at: float = field(default_factory=monotonic)
    admitted_at: float = 0.0
    served_at: float = 0.0
    reported_at: float = 0.0
    state: DenoisingState | None = None
    row_steps: int = 0
    _row_steps_at_cancel: int = 0
    _cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        return f"{self.request.request_id}#{self.index}"

    @property
    def pixels(self) -> int:
        return self.request.width * self.request.height

    def cancel(self) -> None:
        """Give the job up; it leaves the engine before its next step. Safe from any thread."""
        if not self._cancelled.is_set():
            self._row_steps_at_cancel = self.row_steps
            self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    @property
    def wasted_row_steps(self) -> int:
        """DenoiseStage work done after the job was given up."""
        return self.row_steps - self._row_steps_at_cancel if self.cancelled else 0

    @property
    def overdue(self) -> bool:
        return monotonic() - self.submitted_at > self.request.deadline

    @property
    def lost(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.cancelled or self.overdue

    @property
    def loss(self) -> RequestError:
        """Why a lost job was lost."""
        if self.cancelled:
            return RequestError(ErrorCode.CANCELLED, "the request was cancelled")
        return RequestError(
            ErrorCode.DEADLINE_EXCEEDED,
            f"the picture was not done within {self.request.deadline:g} seconds",
        )

    @property
    def denoising(self) -> DenoisingState:
        """The state of an admitted job."""
        if self.state is None:
            raise RuntimeError("the job has not been admitted")
        return self.state

    def due_progress(self) -> bool:
        """Whether a progress event is wanted and the last one is old enough; notes that it is
        sent."""
        now = monotonic()
        wanted = self.request.wants_progress or self.request.wants_previews
        if not wanted or now - self.reported_at < PROGRESS_INTERVAL:
            return False
        self.reported_at = now
        return True
