"""The event stream: a request's events as server-sent events, in any protocol's words.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Final

from fastapi.sse import KEEPALIVE_COMMENT
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api import admission
from api.disconnect import cancel_on_disconnect
from contract.errors import RequestError
from contract.events import Event, Failed, ends

MEDIA_TYPE: Final = "text/event-stream"

# nginx would collect the events before it passes them on.
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
# Proxies close connections that were idle for 30 to 60 seconds.
KEEP_ALIVE_SECONDS = 15.0


class EventStream(StreamingResponse):
    """Sends events as they come, and comments while there are none, until the last event.

    Failures are events too, as the status has been sent. Closes ``events`` when it is done, and
    when the client leaves: that cancels the request's jobs.

    Args:
        first: the first event, and ``events`` those after it, as ``Pictures.stream`` has them.
        write: the wire form of an event: server-sent events, each with its empty line.
        headers: headers of the response.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        first: Event,
        events: AsyncGenerator[Event, None],
        write: Callable[[Event], bytes],
        headers: Mapping[str, str],
    ) -> None:
        self._events = events
        self._write = write
        self._chunks = _chunks(first, events, write)
        super().__init__(self._chunks, headers={**headers, **HEADERS})

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
            late = Failed.from_error(admission.shutting_down())
            await _send(send, self._write(late))
            raise
        finally:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_chunks(self, send: Send) -> None:
        async for chunk in self._chunks:
            await _send(send, chunk)


async def _send(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _chunks(
    event: Event, events: AsyncGenerator[Event, None], write: Callable[[Event], bytes]
) -> AsyncGenerator[bytes, None]:
    """The wire form of ``event`` and those that follow it, up to the end of the request."""
    while True:
        yield write(event)
        if ends(event):
            return
        following = asyncio.ensure_future(anext(events))
        try:
            while not (await asyncio.wait((following,), timeout=KEEP_ALIVE_SECONDS))[0]:
                yield KEEPALIVE_COMMENT
            event = following.result()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
