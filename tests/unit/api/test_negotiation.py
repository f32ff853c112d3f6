from __future__ import annotations

import pytest

from api import negotiation

PICTURE, JSON, EVENTS = "image/png", "application/json", "text/event-stream"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", PICTURE),
        ("*/*", PICTURE),
        ("image/*", PICTURE),
        ("image/png", PICTURE),
        # What browsers' libraries send unless told otherwise.
        ("application/json, text/plain, */*", PICTURE),
        ("application/json", JSON),
        ("Application/JSON; charset=utf-8", JSON),
        ("application/json, */*;q=0.5", JSON),
        ("application/*", JSON),
        ("text/event-stream", EVENTS),
        ("text/event-stream, application/json;q=0.9", EVENTS),
        ("text/*;q=0.1", EVENTS),
        ("image/png;q=0, */*;q=0.1", JSON),
        ("image/webp, application/json;q=0.2", JSON),
        # Nothing that there is, and nothing that makes sense.
        ("text/html", PICTURE),
        ("*/*;q=0", PICTURE),
        (",;;q,=", PICTURE),
        ("application/json;q=nan", JSON),
        ("application/json;q=", JSON),
    ],
)
def test_the_best_offer(header: str, expected: str) -> None:
    assert negotiation.best(header, [PICTURE, JSON, EVENTS]) == expected
