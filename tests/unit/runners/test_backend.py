"""The runner's byte stream as events; the runner itself is tested with the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import aiohttp
import pytest
from bentoml.exceptions import RemoteException

from assembly.snapshot import Snapshot
from contract.errors import ErrorCode, RequestError
from contract.events import Event, Failed, Image, Progress, Queued
from contract.model_state import ModelState
from runners.backend import RunnerBackend
from runners.wire import DONE, to_line
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


class Controlled:
    """A handle of a runner whose models can be loaded and unloaded.

    Attributes:
        chunks: what it says, an exception at its end.
        scheduled_worker_count: as BentoML calls it.
        asked: what it was asked for.
    """

    def __init__(self, *chunks: str | Exception) -> None:
        self.chunks = chunks
        self.scheduled_worker_count = 1
        self.asked: list[tuple[str, str]] = []
        self.control = self.states = self

    async def runner_handle_is_ready(self) -> bool:
        return True

    async def async_run(self) -> dict[str, ModelState]:
        (answer,) = self.chunks
        assert isinstance(answer, Exception)
        raise answer

    async def async_stream(self, action: str, name: str) -> AsyncGenerator[str, None]:
        self.asked.append((action, name))
        for chunk in self.chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk


def test_models_are_loaded_and_unloaded_in_the_runner() -> None:
    handle = Controlled(DONE[:2], DONE[2:])
    backend = RunnerBackend(handle, [TINY], Snapshot(tuple))
    asyncio.run(backend.load("tiny"))
    asyncio.run(backend.unload("tiny"))
    assert handle.asked == [("load", "tiny"), ("unload", "tiny")]


BUSY = to_line(Failed(ErrorCode.BUSY, "no room", "model", 5.0))


@pytest.mark.parametrize(
    ("chunks", "code", "message"),
    [
        ((BUSY[:9], BUSY[9:]), ErrorCode.BUSY, "no room"),
        ((), ErrorCode.NOT_READY, "lost before it could load tiny"),
        (("do", aiohttp.ClientPayloadError("cut")), ErrorCode.NOT_READY, "lost before"),
        ((BUSY[:9],), ErrorCode.NOT_READY, "lost before"),
    ],
)
def test_how_a_load_fails(
    chunks: tuple[str | Exception, ...], code: ErrorCode, message: str
) -> None:
    backend = RunnerBackend(Controlled(*chunks), [TINY], Snapshot(tuple))
    with pytest.raises(RequestError, match=message) as raised:
        asyncio.run(backend.load("tiny"))
    assert raised.value.code is code


def test_models_of_several_workers_stay_as_they_are() -> None:
    handle = Controlled(DONE)
    handle.scheduled_worker_count = 2
    with pytest.raises(RequestError, match="there are 2 workers") as raised:
        asyncio.run(RunnerBackend(handle, [TINY], Snapshot(tuple)).load("tiny"))
    assert raised.value.code is ErrorCode.FORBIDDEN
    assert not handle.asked


def test_a_runner_that_cannot_be_asked_has_no_model_that_is_ready() -> None:
    handle = Controlled(RemoteException("it is not there yet"))
    assert asyncio.run(RunnerBackend(handle, [TINY], Snapshot(tuple)).states()) == {}
