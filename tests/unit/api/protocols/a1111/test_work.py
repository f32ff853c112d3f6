"""The work for a client: what is given up, and what of it is left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from api.pictures import Pictures
from api.protocols.a1111.work import Work, WorkOfClients
from contract.errors import RequestError
from contract.events import Image
from settings import Settings
from tests.conftest import make_request
from tests.unit.api.conftest import PREVIEW, ColourBackend


class Held:
    """Work of two batches of two pictures that waits until it is let go."""

    def __init__(self, settings: Settings) -> None:
        self.backend = ColourBackend()
        self.backend.hold = asyncio.Event()
        self.pictures = Pictures(self.backend, settings)

    async def begin(self, known: WorkOfClients, client: str) -> tuple[Work, asyncio.Task[Any]]:
        work = Work("mine", 4)

        async def run() -> list[Image]:
            with known.begun(client, work):
                batches = [
                    make_request(num_images=2, seed=seed, wants_progress=True, wants_previews=True)
                    for seed in (3, 5)
                ]
                return await work.run(self.pictures, batches)

        before = len(self.backend.requests)
        task = asyncio.create_task(run())
        while len(self.backend.requests) < before + 2:
            await asyncio.sleep(0)
        return work, task

    def let_go(self) -> None:
        assert self.backend.hold is not None
        self.backend.hold.set()


async def interrupted(settings: Settings) -> None:
    known, held = WorkOfClients(), Held(settings)
    work, mine = await held.begin(known, "me")
    other, theirs = await held.begin(known, "them")
    for one in known.of("me"):
        one.interrupt()
    assert await mine == []
    assert (work.interrupted, other.interrupted) == (True, False)
    assert held.backend.cancelled == 2
    assert known.of("me") == ()
    held.let_go()
    assert [image.seed for image in await theirs] == [3, 4, 5, 6]
    assert (other.done, other.finished, other.preview) == (1, 4, PREVIEW)
    assert (other.step, other.steps) == (2, 2)
    # No client is left in memory.
    assert vars(known) == {"_current": {}}


async def skipped(settings: Settings) -> None:
    known, held = WorkOfClients(), Held(settings)
    work, mine = await held.begin(known, "me")
    work.skip()
    held.let_go()
    assert [image.seed for image in await mine] == [5, 6]
    assert (work.skipped, work.interrupted) == (True, False)


async def left(settings: Settings) -> None:
    """A client that leaves: whoever waits for the work is cancelled."""
    known, held = WorkOfClients(), Held(settings)
    _, mine = await held.begin(known, "me")
    mine.cancel()
    await asyncio.gather(mine, return_exceptions=True)
    assert held.backend.cancelled == 2
    assert known.of("me") == ()


async def failed(settings: Settings) -> None:
    known, held = WorkOfClients(), Held(settings)
    _, mine = await held.begin(known, "me")
    held.backend.failure = ValueError("a secret")
    held.let_go()
    with pytest.raises(RequestError, match="unexpected exception"):
        await mine


def test_work_that_is_given_up(settings: Settings) -> None:
    for story in (interrupted, skipped, left, failed):
        asyncio.run(story(settings))
