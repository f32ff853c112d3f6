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

# Model, width and height.
SizeClass: TypeAlias = tuple[str, int, int]

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
        decoded: whether its picture only has to be delivered.
        segment: the current one.
        model: the name of the model that it needs.
        loras: the LoRAs that it needs; likewise their ``tags``.
        size_class: jobs of one class have passes that take about the same.
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
    decoded: bool = False
    segment: Segment = field(init=False)
    model: str = field(init=False)
    loras: tuple[LoraUse, ...] = field(init=False)
    tags: tuple[str, ...] = field(init=False)
    size_class: SizeClass = field(init=False)
    _segments: tuple[Segment, ...] = field(init=False)
    _position: int = 0
    _row_steps_at_cancel: int = 0
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._segments = self.request.segments or (Segment(self.request.model),)
        self._enter(0)

    def _enter(self, position: int) -> None:
        # Kept, as the scheduler looks at each waiting job every turn.
        self._position = position
        self.segment = self._segments[position]
        self.model = self.segment.model
        self.loras = self.request.loras_of(self.segment)
        self.tags = tuple(use.tag for use in self.loras)
        self.size_class = self.model, self.request.width, self.request.height

    @property
    def name(self) -> str:
        return f"{self.request.request_id}#{self.index}"

    @property
    def tenant(self) -> str:
        return self.request.tenant

    @property
    def weight(self) -> float:
        """Its tenant's share of the time, against tenants with 1."""
        return self.request.tenant_weight

    @property
    def pixels(self) -> int:
        return self.request.width * self.request.height

    @property
    def rows_at_most(self) -> int:
        """Rows that it fills in a pass: two with guidance, which may be in a part of its steps."""
        return 2 if self.request.guidance_scale > 1 else 1

    @property
    def has_picture(self) -> bool:
        """Whether a given picture is to be encoded for the current segment."""
        return self.request.init_image is not None and self.handover is None

    @property
    def segments_left(self) -> tuple[Segment, ...]:
        """The current segment and those after it."""
        return self._segments[self._position :]

    @property
    def segments_ahead(self) -> tuple[Segment, ...]:
        """The segments after the current one."""
        return self._segments[self._position + 1 :]

    @property
    def wanted(self) -> SegmentRequest:
        """What the current segment is prepared from."""
        return SegmentRequest(self.request, self.segment, self.handover)

    @property
    def shape(self) -> Hashable:
        """Jobs of one shape can share a pass."""
        return self.model, self.denoising.pass_key

    @property
    def picture_shape(self) -> Hashable:
        """Jobs with the same one have pictures of one size too."""
        return self.model, self.denoising.shape_key

    @property
    def denoising(self) -> DenoisingState:
        """The state of a prepared job."""
        if self.state is None:
            raise RuntimeError("the job has not been prepared")
        return self.state

    @property
    def last_segment(self) -> bool:
        return self._position == len(self._segments) - 1

    def next_segment(self) -> None:
        """Leave a finished segment: the job holds no model any more, and waits for the next one."""
        state = self.denoising
        self.steps_before += state.total
        self.handover, self.state = state.hand_over(), None
        self._enter(self._position + 1)

    @property
    def steps_ahead(self) -> int:
        """Denoiser evaluations of the segments after the current one, as its schedule has them."""
        return 0 if self.last_segment else self.denoising.schedule.left

    @property
    def work_done(self) -> int:
        """Row-steps x pixels so far. Safe from any thread, as ``work_left`` is."""
        return self.row_steps * self.pixels

    @property
    def work_left(self) -> int:
        """Row-steps x pixels that are left, about: guidance may be in a part of the steps."""
        request = self.request
        share = 1.0 if request.strength is None else request.strength
        row_steps = self.rows_at_most * max(1, int(request.num_inference_steps * share))
        return max(0, row_steps - self.row_steps) * self.pixels

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
