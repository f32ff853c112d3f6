from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from serving import memory


class Cycle:
    """As a connection and its request are: each knows the other."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def _no_collections_of_python_s_own() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collections_of_python_s_own")
def test_an_idle_server_frees_what_has_ended() -> None:
    async def idle() -> None:
        memory.keep_tidy(0.01)
        for _ in range(2):
            ended = weakref.ref(Cycle())
            assert ended() is not None
            async with asyncio.timeout(60):
                while ended() is not None:
                    await asyncio.sleep(0.01)

    asyncio.run(idle())
