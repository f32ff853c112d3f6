"""The status of the application: whether a request would be served, as Serve's controller knows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final

from ray.exceptions import RayError
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException
from ray.serve.schema import DeploymentStatus

# Probes come from every load balancer; one look serves them all.
LOOK_SECONDS: Final = 1.0
RUNNING: Final = "RUNNING"
# A deployment without replicas that can have none any more: a request would wait in vain.
_BROKEN: Final = frozenset({DeploymentStatus.UNHEALTHY, DeploymentStatus.DEPLOY_FAILED})


class Status:
    """Looks at the deployments that a request needs.

    Serve says that an application is healthy as soon as its ingress is; the engines load long after
    that.

    Args:
        application: its name.
        minimum: the replicas that each deployment always has, by its name; 0 where the first
            request starts one.
    """

    def __init__(self, application: str, minimum: Mapping[str, int]) -> None:
        self._application = application
        self._minimum = minimum
        self._looked = float("-inf")
        self._serving: frozenset[str] = frozenset()
        self._looking = asyncio.Lock()

    async def ready(self) -> bool:
        """Whether each deployment has a replica, or would start one."""
        return self._minimum.keys() <= await self.serving()

    async def serving(self) -> frozenset[str]:
        """The deployments that have a replica, or would start one."""
        async with self._looking:
            if monotonic() - self._looked > LOOK_SECONDS:
                self._serving = await asyncio.to_thread(self._look)
                self._looked = monotonic()
        return self._serving

    def _look(self) -> frozenset[str]:
        try:
            # serve.status() makes objects of it, among them the router's class, pickled anew: that
            # was a tenth of a core, where it is asked once a second.
            applications = _get_global_client().get_serve_details()["applications"]
        except (RayError, RayServeException):
            return frozenset()
        if self._application not in applications:
            return frozenset()
        deployments = applications[self._application]["deployments"]
        return frozenset(
            name
            for name, least in self._minimum.items()
            if name in deployments and _serves(deployments[name], least)
        )


def _serves(deployment: Mapping[str, Any], least: int) -> bool:
    if any(replica["state"] == RUNNING for replica in deployment["replicas"]):
        return True
    return least == 0 and deployment["status"] not in _BROKEN
