"""The BentoML runner as the API's backend."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from time import monotonic
from typing import Any

import aiohttp
from bentoml.exceptions import BentoMLException

from api.backend import ServedLora, ServedModel
from api.health import not_ready
from assembly.backend import StoreBackend
from assembly.snapshot import Snapshot
from contract.errors import ErrorCode, RequestError
from contract.events import Event, Failed, ends
from contract.model_state import ModelState
from contract.request import GenerationRequest
from contract.tenant_load import TenantLoad
from runners.wire import DONE, Action, from_line

logger = logging.getLogger(__name__)

RESTART_SECONDS = 20.0  # what a runner needs to come back, as measured on two cores
LEARN_SECONDS = 1.0  # a runner that is there answers at once
GRACE_SECONDS = 5.0  # the engine notices a missed deadline itself, if it is there at all


class RunnerBackend(StoreBackend):
    """Implements ``api.backend.Backend`` over the handle of a ``StableDiffusionRunnable``.

    Args:
        runner: the handle.
        models: what the runner was started with.
        loras: those of the store.
    """

    def __init__(
        self,
        runner: Any,
        models: Sequence[ServedModel],
        loras: Snapshot[Sequence[ServedLora]],
    ) -> None:
        self._runner = runner
        self._learned = False
        self._asking = asyncio.Lock()
        super().__init__(models, loras)

    async def ready(self) -> bool:
        return bool(await self._runner.runner_handle_is_ready())

    async def states(self) -> Mapping[str, ModelState]:
        if not await self.ready():
            return {}
        try:
            async with asyncio.timeout(LEARN_SECONDS):
                states: dict[str, ModelState] = await self._runner.states.async_run()
        except (BentoMLException, aiohttp.ClientError, TimeoutError):
            return {}
        return states

    async def tenants(self) -> Mapping[str, TenantLoad]:
        try:
            async with asyncio.timeout(LEARN_SECONDS):
                loads: dict[str, TenantLoad] = await self._runner.tenants.async_run()
        except (BentoMLException, aiohttp.ClientError, TimeoutError):
            raise not_ready("the worker") from None
        return loads

    async def load(self, name: str) -> None:
        await self._control("load", name)

    async def unload(self, name: str) -> None:
        await self._control("unload", name)

    async def _control(self, action: Action, name: str) -> None:
        workers: int = self._runner.scheduled_worker_count
        if workers > 1:
            raise RequestError(
                ErrorCode.FORBIDDEN,
                f"models cannot be loaded and unloaded here, as there are {workers} workers with "
                "models of their own, one on each device",
            )
        try:
            chunks = self._runner.control.async_stream(action, name)
            line = "".join([chunk async for chunk in chunks])
        except (BentoMLException, aiohttp.ClientError) as error:
            logger.error("lost the runner: %s", error)
            line = ""
        if line == DONE:
            return
        event = from_line(line) if line.endswith("\n") else None
        if isinstance(event, Failed):
            raise event.to_error()
        raise RequestError(
            ErrorCode.NOT_READY,
            f"the worker was lost before it could {action} {name}; try again",
            retry_after=RESTART_SECONDS,
        )

    async def learn(self) -> None:
        if self._learned or self._asking.locked():
            return
        async with self._asking:
            try:
                async with asyncio.timeout(LEARN_SECONDS):
                    self._limit(await self._runner.max_pixels.async_run())
            except (BentoMLException, aiohttp.ClientError, TimeoutError):
                # It is not there yet: ``generate`` says so, and the next request asks again.
                return
            self._learned = True

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Run one request in the runner process; a lost or silent runner is a ``Failed`` too."""
        give_up = monotonic() + request.deadline + GRACE_SECONDS
        try:
            async with aclosing(self._runner.generate.async_stream(request)) as chunks:
                async for line in _lines(chunks, give_up):
                    event = from_line(line)
                    yield event
                    if ends(event):
                        return
        except (BentoMLException, aiohttp.ClientError) as error:
            logger.error("lost the runner: %s", error, extra={"request_id": request.request_id})
            # The one that is started in its place measures anew.
            self._learned = False
        except TimeoutError:
            # A request waits in the socket's backlog while the runner starts again.
            yield Failed(
                ErrorCode.DEADLINE_EXCEEDED,
                f"the picture could not be done within {round(request.deadline, 1):g} seconds",
            )
            return
        yield Failed(
            ErrorCode.NOT_READY,
            "the worker was lost before the picture was done; try again",
            retry_after=RESTART_SECONDS,
        )


async def _lines(chunks: AsyncIterator[str], give_up: float) -> AsyncIterator[str]:
    """Put lines together again: the chunks are cut anywhere.

    Raises ``TimeoutError`` at the time ``give_up`` of ``time.monotonic()``.
    """
    pending: list[str] = []
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks), give_up - monotonic())
        except StopAsyncIteration:
            return
        *complete, rest = chunk.split("\n")
        for line in complete:
            yield "".join([*pending, line])
            pending.clear()
        pending.append(rest)
