"""Streams: partial images, finished ones, and failures in between."""

from __future__ import annotations

import base64
from typing import Any

from starlette.testclient import TestClient

from api.protocols.openai.event_stream import Writer
from contract.errors import ErrorCode
from contract.events import Failed, Progress, Queued
from contract.request import GenerationRequest
from tests import uploads
from tests.unit.api import sse
from tests.unit.api.conftest import PREVIEW, ColourBackend
from tests.unit.api.protocols.openai.conftest import EDITS, data_url, error_of, generate

WANTED = GenerationRequest(
    request_id="r",
    model="tiny",
    prompt="a pear",
    width=64,
    height=64,
    num_inference_steps=20,
    guidance_scale=4,
    scheduler="ddim",
    seed=1,
)


def events(response: Any) -> list[tuple[str, Any]]:
    """Without comments."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return [event for event in sse.parse(response.text) if event[0] != ":"]


def test_partial_images_and_finished_ones(client: TestClient, backend: ColourBackend) -> None:
    backend.warnings = ("the prompt was cut",)
    response = generate(client, n=2, seed=7, stream=True, partial_images=1, user="me", size="64x64")

    *partial, (last, second), (name, first) = events(response)
    assert [one["type"] for _, one in partial] == ["image_generation.partial_image"] * 2
    assert all(name == one["type"] for name, one in partial)
    # The backend makes the last picture first.
    assert [one["index"] for _, one in partial] == [1, 0]
    for _, one in partial:
        assert base64.b64decode(one["b64_json"]) == PREVIEW
        assert (one["partial_image_index"], one["output_format"]) == (0, "png")
        assert (one["size"], one["quality"], one["background"]) == ("64x64", "auto", "opaque")
    assert last == name == first["type"] == "image_generation.completed"
    assert (first["seed"], second["seed"]) == (7, 8)
    assert base64.b64decode(first["b64_json"]).startswith(b"\x89PNG")
    assert first["usage"]["total_tokens"] == 2 + 16
    assert first["warnings"][1:] == ["the prompt was cut"]
    assert first["warnings"][0].startswith("user is ignored")
    assert backend.requests[0].wants_previews


def test_a_stream_without_partial_images(client: TestClient, backend: ColourBackend) -> None:
    picture = data_url(uploads.encode(uploads.red_and_blue()))
    response = client.post(
        EDITS, json={"prompt": "x", "images": [{"image_url": picture}], "stream": True}
    )

    assert [name for name, _ in events(response)] == ["image_edit.completed"]
    assert not backend.requests[0].wants_previews


def test_failures_are_events_or_responses(client: TestClient, backend: ColourBackend) -> None:
    backend.failure = Failed(ErrorCode.DEADLINE_EXCEEDED, "too late")
    ((name, data),) = events(generate(client, stream=True))
    assert name == data["type"] == "error"
    assert data["error"]["message"] == "too late"
    assert set(data["error"]) == {"message", "type", "param", "code"}

    backend.failure = Failed(ErrorCode.BUSY, "full", retry_after=7)
    backend.refused = True
    response = generate(client, stream=True)
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert error_of(response)["code"] == "rate_limit_exceeded"

    backend.failure = Failed(ErrorCode.INVALID_REQUEST, "previews must be false", "previews")
    response = generate(client, stream=True, partial_images=2)
    assert (response.status_code, error_of(response)["param"]) == (400, "partial_images")


def sent(partial_images: int, steps: list[int], total: int = 20) -> list[int]:
    """The steps whose previews are sent, of those that the engine reports."""
    writer = Writer("image_generation", WANTED, partial_images, ())
    assert writer.write(Queued(3)) == b": ping\n\n"
    return [step for step in steps if b"partial" in writer.write(Progress(step, total, 0, b"x"))]


def test_previews_are_spread_over_the_steps() -> None:
    every = list(range(1, 20))
    assert sent(0, every) == []
    assert sent(1, every) == [10]
    assert sent(3, every) == [5, 10, 15]
    # The engine reports ten times a second, at most.
    assert sent(3, [8, 16]) == [8, 16]
    assert sent(3, [19]) == [19]
