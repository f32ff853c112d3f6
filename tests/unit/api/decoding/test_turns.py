from __future__ import annotations

import asyncio
from contextlib import suppress

from api.decoding.turns import Turns


class Line:
    """Clients at two slots; each holds its turn until it is let go."""

    def __init__(self) -> None:
        self.turns = Turns(2)
        self.served: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._done: dict[str, asyncio.Event] = {}

    async def come(self, *names: str) -> None:
        """The first letter of a name is the client."""
        for name in names:
            self._done[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._stay(name))
            await asyncio.sleep(0)

    async def _stay(self, name: str) -> None:
        async with self.turns.turn(name[0]):
            self.served.append(name)
            await self._done[name].wait()

    async def leave(self, *names: str) -> None:
        for name in names:
            self._done[name].set()
            await self._tasks[name]
            await asyncio.sleep(0)

    async def give_up(self, name: str) -> None:
        self._tasks[name].cancel()
        with suppress(asyncio.CancelledError):
            await self._tasks[name]
        await asyncio.sleep(0)


def test_whoever_comes_first_is_served_first() -> None:
    async def run() -> None:
        line = Line()
        await line.come("a1", "a2", "a3", "a4")
        assert line.served == ["a1", "a2"]
        await line.leave("a2", "a1")
        assert line.served == ["a1", "a2", "a3", "a4"]

    asyncio.run(run())


def test_another_client_goes_before_one_that_has_a_slot() -> None:
    async def run() -> None:
        line = Line()
        await line.come("a1", "a2", "a3", "a4", "b1", "b2")
        await line.leave("a1")
        assert line.served[2:] == ["b1"]
        await line.leave("a2")
        assert line.served[3:] == ["a3"]
        await line.leave("b1")
        assert line.served[4:] == ["b2"]

    asyncio.run(run())


def test_who_gives_up_leaves_no_slot_behind() -> None:
    async def run() -> None:
        line = Line()
        await line.come("a1", "a2", "a3", "a4")
        await line.give_up("a3")
        await line.give_up("a1")
        assert line.served == ["a1", "a2", "a4"]
        await line.leave("a2", "a4")
        await line.come("b1", "b2", "b3")
        assert line.served[3:] == ["b1", "b2"]

    asyncio.run(run())


def test_who_gives_up_just_when_the_turn_comes_passes_it_on() -> None:
    async def run() -> None:
        line = Line()
        async with line.turns.turn("a"):
            await line.come("a2", "b1", "c1")
        # b1 has been given the slot, and does not know yet.
        await line.give_up("b1")
        assert line.served == ["a2", "c1"]

    asyncio.run(run())
