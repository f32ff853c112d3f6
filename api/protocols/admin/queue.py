"""The queue by key: what each has waiting and running, and what it has had today."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, Field

from api.keys.key import Key
from api.keys.metering import Metering
from api.keys.scopes import Scope
from contract.tenant_load import TenantLoad


class UsedToday(BaseModel):
    """What a key has had since midnight (UTC), of all processes that share the store."""

    requests: int = Field(description="Of any kind")
    pictures: int = Field(description="Accepted, and not lost by a fault of the service")
    pixel_steps: int = Field(description="width x height x steps of these pictures")


class QuotaLeft(BaseModel):
    """How a quota stands."""

    quota: int
    window: int = Field(description="Seconds")
    remaining: int
    reset: int = Field(description="Seconds until there is more")


class Tenant(BaseModel):
    """A key with its part of the queue."""

    id: str = Field(description="Of the key")
    name: str | None = Field(description="null for one that was revoked and has work left")
    scope: Scope | None
    priority: int | None
    queued: int = Field(description="Pictures that are accepted and not yet begun")
    running: int = Field(description="Pictures that are begun and not yet done")
    today: UsedToday
    quotas: dict[str, QuotaLeft]


class QueueByKey(BaseModel):
    """The keys in the order of their names."""

    tenants: list[Tenant]


def queue_by_key(
    keys: Mapping[str, Key], loads: Mapping[str, TenantLoad], metering: Metering
) -> QueueByKey:
    """Put together what is known of all keys, and of others with work.

    Args:
        keys: by their ids.
        loads: of tenants, by their names, which are ids of keys.
        metering: has their accounts.
    """
    known = sorted(keys.values(), key=lambda key: key.name)
    revoked = sorted(loads.keys() - keys.keys() - {""})
    return QueueByKey(
        tenants=[
            *(_tenant(key.id, key, loads, metering) for key in known),
            *(_tenant(identity, None, loads, metering) for identity in revoked),
        ]
    )


def _tenant(
    identity: str, key: Key | None, loads: Mapping[str, TenantLoad], metering: Metering
) -> Tenant:
    load, used = loads.get(identity, TenantLoad()), metering.used(identity)
    left = {} if key is None else metering.left(key)
    return Tenant(
        id=identity,
        name=None if key is None else key.name,
        scope=None if key is None else key.scope,
        priority=None if key is None else key.priority,
        queued=load.queued,
        running=load.running,
        today=UsedToday(
            requests=used.requests, pictures=used.pictures, pixel_steps=used.pixel_steps
        ),
        quotas={
            name: QuotaLeft(
                quota=each.quota, window=each.window, remaining=each.remaining, reset=each.reset
            )
            for name, each in left.items()
        },
    )
