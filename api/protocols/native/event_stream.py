"""The event stream: a request's events while it runs, as server-sent events.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Final

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.disconnect import cancel_on_disconnect
from api.protocols.native import errors, responses
from api.protocols.native.results import GeneratedImage
from contract.errors import ErrorCode, RequestError
from contract.events import Event, Failed, Image, Progress, Queued, ends
from contract.request import GenerationRequest

logger = logging.getLogger(__name__)

MEDIA_TYPE: Final = "text/event-stream"

# Proxies close connections that were idle for 30 to 60 seconds.
KEEP_ALIVE_SECONDS = 15.0


class EventStream(StreamingResponse):
    """Sends events as they come, and comments while there are none, until the last event.

    Failures are events too, as the status has been sent. Closes ``events`` when it is done, and
    when the client leaves: that cancels the request's jobs.

    Args:
        first: the first event, not a ``Failed``: that could still be a response of its own.
        events: the events after it.
        wanted: the request.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self, first: Event, events: AsyncGenerator[Event, None], wanted: GenerationRequest
    ) -> None:
        self._events = events
        self._chunks = _chunks(first, events)
        headers = {
            **responses.common_headers(wanted),
            "Cache-Control": "no-store",
            # nginx would collect the events before it passes them on.
            "X-Accel-Buffering": "no",
        }
        super().__init__(self._chunks, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        try:
            async with aclosing(self._events), aclosing(self._chunks):
                # The client that left reads no error.
                with suppress(RequestError):
                    await cancel_on_disconnect(receive, self._send_chunks(send))
        except asyncio.CancelledError:
            # The time for draining is up.
            late = RequestError(ErrorCode.NOT_READY, "the service is shutting down")
            await _send(send, _chunk(Failed.from_error(late)))
            raise
        finally:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_chunks(self, send: Send) -> None:
        async for chunk in self._chunks:
            await _send(send, chunk)


async def _send(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _chunks(event: Event, events: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
    """The wire form of ``event`` and what follows it, up to the end of the request."""
    while True:
        yield _chunk(event)
        if ends(event):
            return
        following = asyncio.ensure_future(anext(events))
        try:
            while not (await asyncio.wait((following,), timeout=KEEP_ALIVE_SECONDS))[0]:
                yield KEEPALIVE_COMMENT
            event = following.result()
            if isinstance(event, Failed) and event.code is ErrorCode.INTERNAL:
                logger.error("internal error: %s", event.message)
        except Exception:
            logger.exception("internal error")
            event = Failed(ErrorCode.INTERNAL, "the backend broke off")
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


def _chunk(event: Event) -> bytes:
    match event:
        case Queued():
            return _format("queued", {"position": event.position})
        case Progress():
            data: dict[str, Any] = {
                "index": event.index,
                "step": event.step,
                "total": event.total,
            }
            if event.preview is not None:
                data["preview"] = base64.b64encode(event.preview).decode("ascii")
            return _format("progress", data)
        case Image():
            return format_sse_event(
                event="image", data_str=GeneratedImage.of(event).model_dump_json()
            )
        case Failed():
            return _format("error", errors.body(event.to_error()))


def _format(name: str, data: dict[str, Any]) -> bytes:
    return format_sse_event(event=name, data_str=json.dumps(data))
