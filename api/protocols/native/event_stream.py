"""The wire form of events in the native protocol."""

from __future__ import annotations

import base64
import json
from typing import Any

from fastapi.sse import format_sse_event

from api.protocols.native import errors
from api.protocols.native.results import GeneratedImage
from contract.events import Event, Failed, Image, Progress, Queued


def write(event: Event) -> bytes:
    """An event as a server-sent event whose data is JSON."""
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
