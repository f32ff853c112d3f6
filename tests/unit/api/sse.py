"""Server-sent events of the native protocol, as a client reads them."""

from __future__ import annotations

import json
from typing import Any

ACCEPT = {"Accept": "text/event-stream"}


def parse(text: str) -> list[tuple[str, Any]]:
    """The events of a stream; comments are events named ``:``."""
    assert text.endswith("\n\n")
    events: list[tuple[str, Any]] = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        if block.startswith(":"):
            events.append((":", None))
            continue
        name, data = block.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def names(text: str) -> list[str]:
    return [name for name, _ in parse(text)]
