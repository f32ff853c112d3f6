"""The line format of events."""

from __future__ import annotations

import pytest

from contract.errors import ErrorCode
from contract.events import Event, Failed, Image, Progress, Queued
from runners.wire import from_line, to_line


@pytest.mark.parametrize(
    "event",
    [
        Queued(3),
        Progress(1, 20),
        Image(b"\x00\xff", "image/png", 64, 64, 5),
        Image(b"", "image/png", 64, 64, 5, warnings=("a",), screening=("grayscale", "nsfw")),
        Failed(ErrorCode.BUSY, "naïve ☃", "seed", 1.5),
    ],
)
def test_events_survive_the_wire(event: Event) -> None:
    line = to_line(event)
    assert line.isascii()
    assert line.count("\n") == 1
    assert from_line(line) == event


@pytest.mark.parametrize("line", ["{}", "[]", '{"event": "image"}', '{"event": "x"}', "nonsense"])
def test_other_lines_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"event|Expecting"):
        from_line(line)
