"""The worker: takes predictions that wait, and runs them on the backend of its host."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from api.backend import Backend
from api.predictions.claims import Claim, Leased
from api.predictions.execution import Execution
from api.predictions.hub import Hub
from api.predictions.leases import Leases
from api.predictions.measures import Measures
from contract.errors import RequestError

logger = logging.getLogger(__name__)

# Until it looks by itself for what others have accepted, or released.
_POLL_SECONDS: Final = 1.0
_QUICK_SECONDS: Final = 0.02
_MOST_PAUSE: Final = 0.25


class Worker:
    """Runs as many predictions at once as it has slots for.

    Args:
        backend: generates the pictures; its models are those it takes predictions for.
        leases: give it predictions.
        hub: is told what ends.
        measures: are told what is done.
        execute: makes the execution of a lease.
        slots: pictures in the engine at once; 0 for a host that leaves them to others.
        lease_seconds: how long a lease holds.
    """

    def __init__(
        self,
        backend: Backend,
        leases: Leases,
        hub: Hub,
        measures: Measures,
        execute: Callable[[Leased], Execution],
        slots: int,
        lease_seconds: float,
    ) -> None:
        self._backend = backend
        self._leases = leases
        self._hub = hub
        self._measures = measures
        self._execute = execute
        self._slots = slots
        self._beat = lease_seconds / 4
        self._wake = asyncio.Event()
        # Held by whoever takes predictions, until they count among those that run.
        self._looking = asyncio.Lock()
        # Whether the last look may have left some that wait.
        self._more = True
        self._running: dict[asyncio.Task[None], Execution] = {}
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._loops = [asyncio.create_task(self._repeat(self._watch))]
        if self._slots:
            self._loops.append(asyncio.create_task(self._repeat(self._take)))

    def wake(self) -> None:
        """There may be a prediction to take."""
        self._wake.set()

    def stop(self, identifier: str) -> None:
        """A prediction is over: whoever runs it here is to stop."""
        for task, execution in self._running.items():
            if execution.leased.prediction.id == identifier and not execution.ending:
                task.cancel()

    async def close(self, seconds: float) -> None:
        """Take no more; give back what is not done within so many seconds."""
        # What is running keeps its lease meanwhile.
        for loop in self._loops[1:]:
            loop.cancel()
        async with self._looking:
            self._slots = 0
        if self._running:
            await asyncio.wait(list(self._running), timeout=seconds)
        for task in (late := list(self._running)):
            task.cancel()
        if late:
            await asyncio.wait(late)
        self._loops[0].cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    async def _repeat(self, once: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await once()
            except RequestError as error:
                logger.warning("the store of predictions: %s", error)
                await asyncio.sleep(_POLL_SECONDS)
            except Exception:
                logger.exception("the worker of predictions goes on")
                await asyncio.sleep(_POLL_SECONDS)

    @asynccontextmanager
    async def claim(self) -> AsyncIterator[Claim]:
        """A claim to what waits, for a transaction that writes predictions down: where there are
        slots, and it leaves none of it, it saves the look. What it takes begins at the end."""
        free = self._free
        if self._looking.locked() or self._more or free <= 0:
            yield Claim(lambda _: [])
            self._wake.set()
            return
        async with self._looking:
            claim = self._leases.claim(self._models, free)
            yield claim
            self._begin_all(claim.leased, free)

    @property
    def _free(self) -> int:
        return self._slots - sum(one.pictures for one in self._running.values())

    @property
    def _models(self) -> list[str]:
        return [model.name for model in self._backend.models]

    async def _take(self) -> None:
        """Fill the slots, then wait for a reason to look again."""
        self._wake.clear()
        async with self._looking:
            spent = await self._look()
        if spent > _QUICK_SECONDS:
            # With very many that wait: the places that become free are filled together.
            await asyncio.sleep(min(4 * spent, _MOST_PAUSE))
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _look(self) -> float:
        """Fill the slots; returns the seconds that it took to find what waits."""
        free, self._more = self._free, True
        if free <= 0 or not await self._backend.ready():
            return 0.0
        began = time.monotonic()
        taken = await self._leases.take(self._models, free)
        self._begin_all(taken, free)
        return time.monotonic() - began

    def _begin_all(self, taken: Sequence[Leased], free: int) -> None:
        self._more = len(taken) >= free
        for leased in taken:
            self._begin(leased)

    def _begin(self, leased: Leased) -> None:
        execution = self._execute(leased)
        self._measures.begun(leased.prediction)
        task = asyncio.create_task(execution.run())
        self._running[task] = execution
        self._measures.running(len(self._running))
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        execution = self._running.pop(task)
        self._measures.running(len(self._running))
        if execution.ended is not None:
            self._measures.ended(execution.ended)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a prediction was left to its lease", exc_info=task.exception())
        # A look costs as much as an end. Of what came later, whoever accepted it has told us.
        if self._more or execution.ended is None:
            self._wake.set()

    async def _watch(self) -> None:
        """Renew what runs here, then end or take back what others have left.

        In this order: a process that was slow itself is not to take its own work for abandoned.
        """
        await self._renew()
        for prediction in await self._leases.reclaim():
            self._hub.ended(prediction)
            self._measures.ended(prediction)
        self._wake.set()
        await asyncio.sleep(self._beat)

    async def _renew(self) -> None:
        """Renew the leases of what runs; stop what is no longer ours."""
        executions = dict(self._running)
        progress = {
            (one.leased.prediction.number, one.leased.lease): (one.step, one.total)
            for one in executions.values()
        }
        if not progress:
            return
        kept = await self._leases.renew(progress)
        for task, one in executions.items():
            if one.leased.prediction.number not in kept and not one.ending:
                task.cancel()
