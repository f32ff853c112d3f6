"""The runner's byte stream as events; the runner itself is tested with the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import aiohttp
import pytest
from bentoml.exceptions import RemoteException

from assembly.snapshot import Snapshot
from contract.errors import ErrorCode
from contract.events import Event, Failed, Image, Progress, Queued
from runners.backend import RunnerBackend
from runners.wire import to_line
from tests.conftest import make_request
from tests.unit.api.conftest import TINY

EVENTS: list[Event] = [Queued(0), Progress(1, 2), Image(b"\x89PNG", "image/png", 64, 64, 7)]
STREAM = "".join(to_line(event) for event in EVENTS)


class Handle:
    """Stands where BentoML puts the runner's method."""

    def __init__(self, chunks: Callable[[], AsyncGenerator[str, None]]) -> None:
        self.generate = self
        self._chunks = chunks

    def async_stream(self, request: Any) -> AsyncGenerator[str, None]:
        return self._chunks()


def events(chunks: Callable[[], AsyncGenerator[str, None]], deadline: float = 300.0) -> list[Event]:
    async def run() -> list[Event]:
        backend = RunnerBackend(Handle(chunks), [], Snapshot(tuple))
        return [event async for event in backend.generate(make_request(deadline=deadline))]

    return asyncio.run(run())


@pytest.mark.parametrize("size", [1, 7, 40, 10_000])
def test_lines_survive_any_cut(size: int) -> None:
    async def chunks() -> AsyncGenerator[str, None]:
        for start in range(0, len(STREAM), size):
            yield STREAM[start : start + size]

    assert events(chunks) == EVENTS


@pytest.mark.parametrize("error", [None, aiohttp.ClientPayloadError("cut")])
def test_a_lost_runner_is_a_failure_that_invites_another_try(error: Exception | None) -> None:
    async def chunks() -> AsyncGenerator[str, None]:
        yield to_line(Queued(0))
        yield STREAM[-20:-1]
        if error:
            raise error

    *_, last = events(chunks)
    assert isinstance(last, Failed)
    assert last.code is ErrorCode.NOT_READY
    assert last.retry_after == 20


def test_how_large_pictures_may_be_is_learnt_from_each_runner() -> None:
    answers: list[dict[str, int] | Exception] = [
        RemoteException("it is not there yet"),
        {"tiny": 5000},
        {"tiny": 4000},
    ]

    class Measuring(Handle):
        def __init__(self) -> None:
            super().__init__(cut)
            self.max_pixels = self

        async def async_run(self) -> dict[str, int]:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

    async def cut() -> AsyncGenerator[str, None]:
        raise aiohttp.ClientPayloadError("cut")
        yield ""

    async def run() -> list[int]:
        backend = RunnerBackend(Measuring(), [TINY], Snapshot(tuple))
        found = []
        for _ in range(3):
            await backend.learn()
            found.append(backend.models[0].max_pixels)
        async for _ in backend.generate(make_request()):
            pass
        await backend.learn()
        return [*found, backend.models[0].max_pixels]

    assert asyncio.run(run()) == [TINY.max_pixels, 5000, 5000, 4000]


def test_a_silent_runner_does_not_hold_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.backend.GRACE_SECONDS", 0.0)

    async def chunks() -> AsyncGenerator[str, None]:
        await asyncio.sleep(60)
        yield STREAM

    (event,) = events(chunks, deadline=0.01)
    assert isinstance(event, Failed)
    assert event.code is ErrorCode.DEADLINE_EXCEEDED
