"""A submitted request: one job a picture, and the one stream that their events go to."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from contract.events import Event, Failed, Image, Progress, Queued, ends
from contract.request import GenerationRequest
from engine.job import Job

logger = logging.getLogger(__name__)


class Submission:
    """The jobs of a request, the i-th with the request's seed + i.

    Args:
        request: the request as it was submitted.
        emit: receives the events in order, the last one as ``contract.events.ends`` says; called
            from the engine's threads, must not block.
    """

    def __init__(self, request: GenerationRequest, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._missing = set(range(request.num_images))
        self._ended = False
        self.jobs = tuple(
            Job(_single(request, index), index, self._report) for index in range(request.num_images)
        )

    def cancel(self) -> None:
        """Give all its pictures up. Safe from any thread."""
        for job in self.jobs:
            job.cancel()

    def accepted(self, position: int) -> None:
        """Say that ``position`` jobs wait in front of the first of these."""
        self._report(Queued(position))

    def _report(self, event: Event) -> None:
        with self._lock:
            late = isinstance(event, Progress) and event.index not in self._missing
            if self._ended or late:
                return
            if isinstance(event, Image):
                self._missing.discard(event.index)
                event = replace(event, last=not self._missing)
            self._ended = ends(event)
            try:
                self._emit(event)
            except Exception:
                # A failing listener must not affect other jobs.
                logger.exception("an event could not be delivered")
        if isinstance(event, Failed):
            # Half of what was asked for is of no use.
            self.cancel()


def _single(request: GenerationRequest, index: int) -> GenerationRequest:
    """What gives the picture ``index`` of a request alone."""
    prompt = request.prompts[index] if request.prompts else request.prompt
    seed = request.seed + index
    return replace(request, prompt=prompt, prompts=(), seed=seed, num_images=1)
