from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from assembly.shutdown import Shutdown


@pytest.fixture(autouse=True)
def server_signals() -> Iterator[list[int]]:
    """Stand-ins for uvicorn's handlers; yields the signals that reach them."""
    received: list[int] = []
    before = {
        signum: signal.signal(signum, lambda number, _: received.append(number))
        for signum in (signal.SIGTERM, signal.SIGINT)
    }
    yield received
    for signum, handler in before.items():
        signal.signal(signum, handler)


class Work:
    """Work in flight that ends when told, or at once with no seconds left."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.finishing = False

    async def finish(self, seconds: float) -> None:
        self.finishing = True
        if seconds:
            await self.done.wait()


async def until(received: list[int]) -> None:
    while not received:
        await asyncio.sleep(0.001)


def test_the_server_goes_down_when_the_work_is_done(server_signals: list[int]) -> None:
    async def run() -> None:
        work = Work()
        Shutdown(work.finish, 60).install()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.01)
        assert work.finishing
        assert not server_signals
        work.done.set()
        await until(server_signals)

    asyncio.run(run())
    assert server_signals == [signal.SIGTERM]


def test_ctrl_c_arrives_twice_by_the_supervisor_and_drains_all_the_same(
    server_signals: list[int],
) -> None:
    async def run() -> None:
        work = Work()
        Shutdown(work.finish, 60).install()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.01)
        assert not server_signals
        work.done.set()
        await until(server_signals)

    asyncio.run(run())
    assert server_signals == [signal.SIGINT]


def test_a_second_ctrl_c_does_not_wait(server_signals: list[int]) -> None:
    async def run() -> None:
        Shutdown(Work().finish, 60).install()
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.01)
        await until(server_signals)

    asyncio.run(run())
    assert server_signals == [signal.SIGINT]
