"""A blocking call for threads that have nothing else to do until their pictures are there."""

from __future__ import annotations

from concurrent.futures import Future, wait

from contract.events import Event, Failed, Image, ends
from contract.request import GenerationRequest
from engine.engine import Engine


def generate(
    engine: Engine, request: GenerationRequest, *, cancel_after: float | None = None
) -> list[Image]:
    """Submit a request and wait for its pictures, which come in the order of their seeds.

    Args:
        cancel_after: seconds after which the request is cancelled.

    Raises:
        RequestError: the request was refused, or ended without its pictures.
    """
    images: list[Image] = []
    end: Future[None] = Future()

    def emit(event: Event) -> None:
        if isinstance(event, Image):
            images.append(event)
        if isinstance(event, Failed):
            end.set_exception(event.to_error())
        elif ends(event):
            end.set_result(None)

    submission = engine.submit(request, emit)
    if cancel_after is not None:
        wait([end], cancel_after)
        submission.cancel()
    end.result()
    return sorted(images, key=lambda image: image.index)
