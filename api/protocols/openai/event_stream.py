"""The wire form of events: partial images and finished ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from api.protocols.openai import errors
from api.protocols.openai.responses import (
    CompletedEvent,
    ErrorEvent,
    PartialImageEvent,
    PictureEvent,
)
from contract.events import Event, Failed, Image, Progress
from contract.request import GenerationRequest


class Writer:
    """Writes the events of one request as server-sent events.

    Of the previews it sends as many as the client wants, spread over the steps, and fewer where the
    picture is done sooner. What is not sent becomes a comment, so that the connection stays open.

    Args:
        kind: begins the events' names: ``image_generation`` or ``image_edit``.
        wanted: the request.
        partial_images: previews of each picture, at most.
        warnings: sentences about the request's fields, for each picture.
    """

    def __init__(
        self,
        kind: str,
        wanted: GenerationRequest,
        partial_images: int,
        warnings: Sequence[str],
    ) -> None:
        self._kind = kind
        self._wanted = wanted
        self._partial_images = partial_images
        self._warnings = warnings
        self._sent: Counter[int] = Counter()

    def write(self, event: Event) -> bytes:
        """One event, with its empty line."""
        match event:
            case Progress(preview=bytes(preview)) if self._is_due(event):
                number = self._sent[event.index]
                self._sent[event.index] += 1
                return _format(
                    PartialImageEvent.of(self._kind, self._wanted, event, preview, number)
                )
            case Image():
                return _format(CompletedEvent.of(self._kind, self._wanted, event, self._warnings))
            case Failed():
                return _format(ErrorEvent(error=errors.body(event.to_error()).error))
            case _:
                return KEEPALIVE_COMMENT

    def _is_due(self, event: Progress) -> bool:
        """Whether the next preview's share of the steps is done."""
        following = self._sent[event.index] + 1
        enough = following > self._partial_images
        return not enough and event.step * (self._partial_images + 1) >= event.total * following


def _format(event: PictureEvent | ErrorEvent) -> bytes:
    return format_sse_event(event=event.type, data_str=event.model_dump_json())
