"""The worker: the engine of this process with the LoRAs of the store, as every host runs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from assembly.engine import build_engine
from assembly.loras import StoredLoras
from contract.events import Event
from contract.model_state import ModelState
from contract.observer import Observer
from contract.request import GenerationRequest
from contract.tenant_load import TenantLoad
from engine.stream import stream
from models.catalog import ModelEntry
from models.placement import Placement
from settings import Settings


class Worker:
    """Runs requests on one device; constructed when each model has made a picture.

    Args:
        settings: what is served, and within which limits.
        entries: the models.
        placement: where they run.
        observer: receives the measurements.

    Raises what ``assembly.engine.build_engine`` raises.
    """

    def __init__(
        self,
        settings: Settings,
        entries: tuple[ModelEntry, ...],
        placement: Placement,
        observer: Observer,
    ) -> None:
        self._loras = StoredLoras(placement.precision)
        self._engine = build_engine(settings, entries, placement, self._loras, observer)

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        return self._engine.ready

    @property
    def max_pixels(self) -> Mapping[str, int]:
        """See ``Engine.max_pixels``."""
        return self._engine.max_pixels

    @property
    def work_left(self) -> int:
        """See ``Engine.work_left``."""
        return self._engine.work_left

    @property
    def tenants(self) -> dict[str, TenantLoad]:
        """See ``Engine.tenants``."""
        return self._engine.tenants

    @property
    def states(self) -> dict[str, ModelState]:
        """The state of each model, by its name; of none once there are no more requests."""
        return self._engine.states if self.ready else {}

    async def load(self, name: str) -> None:
        """Bring a model into memory. Raises ``RequestError``: see ``Engine.load``."""
        # Others may wait for the same: who gives up does so alone.
        await asyncio.shield(asyncio.wrap_future(self._engine.load(name)))

    async def unload(self, name: str) -> None:
        """Take a model out of memory. Raises ``RequestError``: see ``Engine.unload``."""
        self._engine.unload(name)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Run one request; ends as ``contract.events`` says. Closing it cancels the jobs."""
        if request.loras:
            # One that was registered a moment ago is not in the snapshot yet.
            await self._loras.refresh()
        async with aclosing(stream(self._engine, request)) as events:
            async for event in events:
                yield event

    async def close(self, seconds: float) -> None:
        """Refuse new requests, let the accepted ones finish for ``seconds``, fail the rest.

        Those that are refused or failed end with ``not_ready``.
        """
        await asyncio.to_thread(self._engine.close, seconds)
