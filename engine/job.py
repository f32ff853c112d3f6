"""A request on its way through the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from engine.events import Event
from engine.request import GenerationRequest
from engine.state import DenoisingState

PROGRESS_INTERVAL = 0.1  # seconds: nobody watches more than ten steps a second


@dataclass(slots=True, eq=False)
class Job:
    """One submitted request.

    Attributes:
        request: what to draw.
        emit: receives the job's events; called from the engine's threads, must not block.
        submitted_at: ``time.monotonic()`` of the submission; likewise ``admitted_at`` of the
            admission and ``served_at`` of the last denoiser pass.
        state: the denoising, once admitted.
    """

    request: GenerationRequest
    emit: Callable[[Event], None]
    submitted_at: float = field(default_factory=monotonic)
    admitted_at: float = 0.0
    served_at: float = 0.0
    reported_at: float = 0.0
    state: DenoisingState | None = None
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Give the job up; it leaves the engine before its next step. Safe from any thread."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    @property
    def overdue(self) -> bool:
        return monotonic() - self.submitted_at > self.request.deadline

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
        if not self.request.wants_progress or now - self.reported_at < PROGRESS_INTERVAL:
            return False
        self.reported_at = now
        return True
