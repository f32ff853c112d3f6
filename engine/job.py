"""The job: one picture on its way through the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeAlias

from contract.errors import ErrorCode, RequestError
from contract.events import Event
from contract.request import GenerationRequest, LoraUse, Segment
from engine.denoising.state import DenoisingState, Handover
from engine.pipelines.base import SegmentRequest

PROGRESS_INTERVAL = 0.1  # seconds: more than ten steps a second are of no use to a client


@dataclass(slots=True, eq=False)
class Job:
    """One picture of a submitted request.

    Attributes:
        request: its ``num_images`` is 1, and its seed and prompt are those of this picture.
        index: which picture of the submitted request, 0 for the first.
        report: receives the job's events; called from the engine's threads.
        submitted_at: ``time.monotonic()`` of the submission; likewise ``admitted_at`` of the
            beginning of the segment's preparation, ``served_at`` of the last pass and
            ``reported_at`` of the last progress event.
        state: the denoising of the current segment, from its preparation to the decoding.
        handover: what the last segment has left, while the job waits for the next one.
        arrival: place in the order of those who wait.
        row_steps: denoiser work so far: rows, summed over the passes.
        steps_before: denoiser evaluations of the segments before this one.
    """

    request: GenerationRequest
    index: int
    report: Callable[[Event], None]
    submitted_at: float = field(default_factory=monotonic)
    admitted_at: float = 0.0
    served_at: float = 0.0
    reported_at: float = 0.0
    state: DenoisingState | None = None
    handover: Handover | None = None
    arrival: float = 0.0  # set by the scheduler
    row_steps: int = 0
    steps_before: int = 0
    _position: int = 0
    _row_steps_at_cancel: int = 0
    _cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        return f"{self.request.request_id}#{self.index}"

    @property
    def pixels(self) -> int:
        return self.request.width * self.request.height

    @property
    def segments(self) -> tuple[Segment, ...]:
        return self.request.segments or (Segment(self.request.model),)

    @property
    def segment(self) -> Segment:
        """The current one."""
        return self.segments[self._position]

    @property
    def model(self) -> str:
        """The name of the model that the current segment needs."""
        return self.segment.model

    @property
    def loras(self) -> tuple[LoraUse, ...]:
        """The LoRAs that the current segment needs."""
        return self.request.loras_of(self.segment)

    @property
    def wanted(self) -> SegmentRequest:
        """What the current segment is prepared from."""
        return SegmentRequest(self.request, self.segment, self.handover)

    @property
    def shape(self) -> Hashable:
        """Jobs of one shape can share a pass."""
        return self.model, self.denoising.shape_key

    @property
    def denoising(self) -> DenoisingState:
        """The state of a prepared job."""
        if self.state is None:
            raise RuntimeError("the job has not been prepared")
        return self.state

    @property
    def last_segment(self) -> bool:
        return self._position == len(self.segments) - 1

    def next_segment(self) -> None:
        """Leave a finished segment: the job holds no model any more, and waits for the next one."""
        state = self.denoising
        self.steps_before += state.total
        self.handover, self.state = state.hand_over(), None
        self._position += 1

    @property
    def steps_ahead(self) -> int:
        """Denoiser evaluations of the segments after this one, about."""
        ahead = self.segments[self._position + 1 :]
        return round(sum((one.end - one.start) * self.request.num_inference_steps for one in ahead))

    def cancel(self) -> None:
        """Abandon the job; it leaves the engine before its next step. Safe from any thread."""
        if not self._cancelled.is_set():
            self._row_steps_at_cancel = self.row_steps
            self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    @property
    def wasted_row_steps(self) -> int:
        """Denoiser work done after the job was cancelled."""
        return self.row_steps - self._row_steps_at_cancel if self.cancelled else 0

    @property
    def seconds_left(self) -> float:
        """Until the deadline; below 0 after it."""
        return self.submitted_at + self.request.deadline - monotonic()

    @property
    def cancel_reason(self) -> RequestError | None:
        """Why the job is abandoned; None while its client waits for it."""
        if self.cancelled:
            return RequestError(ErrorCode.CANCELLED, "the request was cancelled")
        return self.deadline_exceeded if self.seconds_left < 0 else None

    @property
    def deadline_exceeded(self) -> RequestError:
        """The error of a job that is not done, or cannot be done, in time."""
        return RequestError(
            ErrorCode.DEADLINE_EXCEEDED,
            f"the picture could not be done within {round(self.request.deadline, 1):g} seconds",
        )

    def due_progress(self) -> bool:
        """Whether a progress event is wanted and the last one is old enough; notes that it is
        sent."""
        now = monotonic()
        wanted = self.request.wants_progress or self.request.wants_previews
        if not wanted or now - self.reported_at < PROGRESS_INTERVAL:
            return False
        self.reported_at = now
        return True


# The jobs that a stage could not carry on, and why.
Failures: TypeAlias = list[tuple[Job, BaseException]]
