"""The load of a tenant: how many of its pictures an engine has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TenantLoad:
    """Pictures of one tenant.

    Attributes:
        queued: accepted, and not yet begun.
        running: begun, and not yet done.
    """

    queued: int = 0
    running: int = 0

    def __add__(self, other: TenantLoad) -> TenantLoad:
        return TenantLoad(self.queued + other.queued, self.running + other.running)
