"""The events of a prediction, live and once more: server-sent events with ids."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Any, Final

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.disconnect import cancel_on_disconnect
from api.event_stream import HEADERS, KEEP_ALIVE_SECONDS, MEDIA_TYPE
from api.predictions.hub import Feed, LiveEvent
from api.predictions.prediction import Prediction
from api.predictions.predictions import Predictions
from contract.errors import RequestError

# Until it looks whether another process has changed the prediction.
_LOOK_SECONDS: Final = 1.0
_ID: Final = re.compile(r"([0-9a-f]{8})-([0-9]{1,15})")


class PredictionStream(StreamingResponse):
    """Sends what happens to a prediction until it is over, its client leaves, or the service stops.

    The client may leave and come back: that changes nothing for the prediction.

    Args:
        predictions: has it.
        prediction: as it was just read.
        render: the prediction as the client is to see it.
        last_event_id: of the client's last event, if it was here before.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        predictions: Predictions,
        prediction: Prediction,
        render: Callable[[Prediction], dict[str, Any]],
        last_event_id: str | None,
    ) -> None:
        self._chunks = _chunks(predictions, prediction, render, last_event_id)
        super().__init__(self._chunks, headers=HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_all() -> None:
            async with aclosing(self._chunks):
                await self.stream_response(send)

        with suppress(RequestError):
            await cancel_on_disconnect(receive, send_all())


async def _chunks(
    predictions: Predictions,
    prediction: Prediction,
    render: Callable[[Prediction], dict[str, Any]],
    last_event_id: str | None,
) -> AsyncGenerator[bytes, None]:
    feed = predictions.hub.feed(prediction.id)
    seen, known = _seen(feed, last_event_id)
    yield _event("prediction", render(prediction))
    if not known:
        # Of another process: how many there were meanwhile, nobody knows.
        yield _event("dropped", {"events": None})
    status, sent = prediction.status, time.monotonic()
    while True:
        dropped, events = feed.since(seen)
        if dropped:
            yield _event("dropped", {"events": dropped})
        for event in events:
            yield _live(feed, event)
            seen, sent = event.number, time.monotonic()
        seen = max(seen, feed.count)
        if feed.final is not None or prediction.status.is_over:
            final = feed.final or prediction
            yield _event("completed", render(final), f"{feed.epoch}-{seen}")
            return
        if predictions.closing:
            return
        if prediction.status is not status:
            status = prediction.status
            yield _event("prediction", render(prediction))
        if feed.count == seen:
            await feed.change(_LOOK_SECONDS)
        if feed.count == seen and feed.final is None:
            # Nothing happened here: it may be run elsewhere.
            try:
                prediction = await predictions.find(prediction.id, None)
            except RequestError:
                return
        if time.monotonic() - sent > KEEP_ALIVE_SECONDS:
            yield KEEPALIVE_COMMENT
            sent = time.monotonic()


def _seen(feed: Feed, last_event_id: str | None) -> tuple[int, bool]:
    """The number of the client's last event, and whether it is known what came after it."""
    if last_event_id is None:
        return 0, True
    match = _ID.fullmatch(last_event_id)
    if match is None or match[1] != feed.epoch:
        return 0, False
    return min(int(match[2]), feed.count), True


def _live(feed: Feed, event: LiveEvent) -> bytes:
    data = dict(event.data)
    if isinstance(data.get("preview"), bytes):
        data["preview"] = base64.b64encode(data["preview"]).decode("ascii")
    return _event(event.name, data, f"{feed.epoch}-{event.number}")


def _event(name: str, data: dict[str, Any], identifier: str | None = None) -> bytes:
    return format_sse_event(event=name, data_str=json.dumps(data), id=identifier)
