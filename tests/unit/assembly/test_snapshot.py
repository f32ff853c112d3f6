"""The snapshot of what other processes change."""

from __future__ import annotations

import asyncio
import threading

import pytest

from assembly.snapshot import Snapshot


def test_it_is_read_in_another_thread_and_only_when_refreshed() -> None:
    threads: list[str] = []

    def look() -> int:
        threads.append(threading.current_thread().name)
        return len(threads)

    snapshot = Snapshot(look)
    assert [snapshot.value, snapshot.value] == [1, 1]
    asyncio.run(snapshot.refresh())
    assert snapshot.value == 2
    assert threads[0] != threads[1]


class Store:
    """A value that takes its time to be read."""

    def __init__(self) -> None:
        self.content = "old"
        self.looks = 0
        self.open = threading.Event()
        self.open.set()

    def look(self) -> str:
        self.looks += 1
        found = self.content
        assert self.open.wait(10)
        return found


def test_those_that_come_during_a_look_see_what_came_before_them() -> None:
    async def run() -> None:
        store = Store()
        snapshot = Snapshot(store.look)
        store.open.clear()
        first = asyncio.create_task(snapshot.refresh())
        while store.looks < 2:
            await asyncio.sleep(0.001)
        # The look that is under way has missed it.
        store.content = "new"
        others = [asyncio.create_task(snapshot.refresh()) for _ in range(5)]
        await asyncio.sleep(0)
        store.open.set()
        await first
        assert snapshot.value == "old"
        await asyncio.gather(*others)
        assert snapshot.value == "new"
        # One look for all that had waited.
        assert store.looks == 3

    asyncio.run(run())


def test_an_abandoned_look_is_not_taken_for_one_that_was_made() -> None:
    async def run() -> None:
        store = Store()
        snapshot = Snapshot(store.look)
        store.open.clear()
        leaving = asyncio.create_task(snapshot.refresh())
        while store.looks < 2:
            await asyncio.sleep(0.001)
        waiting = asyncio.create_task(snapshot.refresh())
        await asyncio.sleep(0)
        store.content = "new"
        leaving.cancel()
        store.open.set()
        await waiting
        assert snapshot.value == "new"

    asyncio.run(run())


def test_a_look_that_fails_leaves_what_was_there() -> None:
    values = [1]
    snapshot = Snapshot(values.pop)
    with pytest.raises(IndexError):
        asyncio.run(snapshot.refresh())
    assert snapshot.value == 1
