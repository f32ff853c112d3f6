"""The engine deployment: a replica makes pictures with one group of models on one device."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from ray import serve

from assembly import environment, logs, startup
from assembly.composition import compose
from contract.events import Event
from contract.observer import WeightKind
from contract.request import GenerationRequest
from contract.tenant_load import TenantLoad
from deployment.ray.policy import ROW_STEPS
from settings import Settings


class EngineReplica:
    """An engine in a process of Ray's; constructed when each model has made a picture.

    Args:
        settings: with the models of this group, and where they run.

    Raises:
        RuntimeError: says in a sentence why it cannot start. Serve shows it and tries again.
    """

    def __init__(self, settings: Settings) -> None:
        environment.prepare()
        logs.configure(settings)
        # Imported here, as they import torch.
        from assembly.worker import Worker
        from deployment.ray.metrics import RayObserver

        with startup.explained(RuntimeError):
            composition = compose(settings)
            self._observer = RayObserver()
            self._worker = Worker(
                settings, composition.entries, composition.placement, self._observer
            )
        default = composition.entries[0].defaults
        self._pixels = default.width * default.height
        self._name: str = serve.get_replica_context().replica_id.unique_id

    async def generate(
        self, request: GenerationRequest, avoid: Sequence[str] = ()
    ) -> AsyncGenerator[tuple[str, Event] | Event, None]:
        """Run one request; yields its events, the first of them with the name of this replica.

        Closing it, as Serve does when the caller cancels, cancels the jobs.

        Args:
            request: what to make.
            avoid: for the router: the names of replicas that were lost, or had no room.
        """
        async with aclosing(self._worker.generate(request)) as events:
            yield self._name, await anext(events)
            async for event in events:
                yield event

    async def max_pixels(self) -> dict[str, int]:
        """See ``Engine.max_pixels``."""
        return dict(self._worker.max_pixels)

    async def tenants(self) -> dict[str, TenantLoad]:
        """See ``Engine.tenants``."""
        return self._worker.tenants

    async def check_health(self) -> None:
        """Called by Serve now and then, which replaces a replica that raises."""
        if not self._worker.ready:
            raise RuntimeError("the engine takes no requests any more")

    def record_routing_stats(self) -> dict[str, Any]:
        """What the router knows of this replica, see ``deployment.ray.router``."""
        return {
            "work_left": self._worker.work_left,
            "models": self._observer.resident(WeightKind.MODEL),
            "loras": self._observer.resident(WeightKind.LORA),
        }

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What the policy knows of it, see ``deployment.ray.policy``."""
        return {ROW_STEPS: self._worker.work_left / self._pixels}
