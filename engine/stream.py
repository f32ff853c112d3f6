"""Jobs for asyncio: the events of one job as an async iterator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

from contract.errors import RequestError
from contract.events import Event, Failed, ends
from contract.request import GenerationRequest
from engine.engine import Engine


async def stream(engine: Engine, request: GenerationRequest) -> AsyncGenerator[Event, None]:
    """Run a request and yield its events; closing the iterator cancels the job.

    A refused request yields a single ``Failed``.
    """
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[Event] = asyncio.Queue()

    def emit(event: Event) -> None:
        # A closed loop refuses: then no client is left to read the event.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(events.put_nowait, event)

    try:
        job = engine.submit(request, emit)
    except RequestError as error:
        yield Failed.from_error(error)
        return
    try:
        while True:
            event = await events.get()
            yield event
            if ends(event):
                return
    finally:
        job.cancel()
