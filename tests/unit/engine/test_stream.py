"""A request's events as an async iterator."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from contract.errors import ErrorCode
from contract.events import Event, Failed, Image, Queued
from engine.engine import Engine
from engine.stream import stream
from engine.weights.cache import WeightCache
from tests.conftest import make_request
from tests.unit.engine.conftest import Recorder


def test_the_stream_ends_with_the_picture_and_cancels_when_closed(
    engine: Engine, recorder: Recorder
) -> None:
    async def run() -> list[Event]:
        async with aclosing(stream(engine, make_request(num_inference_steps=150))) as abandoned:
            async for _ in abandoned:
                break
        return [event async for event in stream(engine, make_request())]

    events = asyncio.run(run())
    assert isinstance(events[0], Queued)
    assert isinstance(events[-1], Image)
    assert recorder.outcomes == {"ok": 1, "cancelled": 1}


def test_a_refused_stream_says_so() -> None:
    async def run() -> list[Event]:
        engine = Engine(WeightCache.preloaded({}))
        events = [event async for event in stream(engine, make_request())]
        engine.close()
        return events

    (event,) = asyncio.run(run())
    assert isinstance(event, Failed)
    assert event.code is ErrorCode.NOT_FOUND
