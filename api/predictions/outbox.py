"""The outbox: webhooks to be delivered, written in the transaction that ends a prediction."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from api.predictions.database import Database
from api.predictions.prediction import Prediction, WebhookEvent
from api.predictions.statements import COLUMNS
from api.predictions.tables import DELIVERIES, PREDICTIONS

ATTEMPTS: Final = 12
# One who takes a delivery has so long to make it, until another one may.
_TAKEN_SECONDS: Final = 20.0


class DeliveryState(StrEnum):
    """What became of a delivery; a dead one can be sent again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row of the table, with its prediction. Its id is that of the event."""

    id: str
    url: str
    state: DeliveryState
    attempts: int
    created_at: float
    next_at: float
    last_error: str | None
    prediction: Prediction


_COLUMNS: Final = [
    DELIVERIES.c.id.label("delivery_id"),
    DELIVERIES.c.url,
    DELIVERIES.c.state,
    DELIVERIES.c.attempts.label("tries"),
    DELIVERIES.c.created_at.label("noted_at"),
    DELIVERIES.c.next_at,
    DELIVERIES.c.last_error,
    *COLUMNS,
]
_JOINED: Final = DELIVERIES.join(PREDICTIONS, DELIVERIES.c.prediction == PREDICTIONS.c.number)


def add_delivery(database: Database, connection: Connection, prediction: Prediction) -> None:
    """Put the last webhook of a prediction down, if it wants one."""
    if prediction.webhook is None or WebhookEvent.COMPLETED not in prediction.webhook_events:
        return
    now = database.now()
    connection.execute(
        insert(DELIVERIES).values(
            id=uuid.uuid4().hex,
            prediction=prediction.number,
            tenant=prediction.tenant,
            url=prediction.webhook,
            state=DeliveryState.PENDING,
            attempts=0,
            created_at=now,
            next_at=now,
        )
    )


class Outbox:
    """Runs its queries on a database.

    Args:
        database: with the tables.
        retry_seconds: until the second attempt; the wait doubles with each.
    """

    def __init__(self, database: Database, retry_seconds: float) -> None:
        self._database = database
        self._retry_seconds = retry_seconds

    async def take(self, limit: int) -> list[Delivery]:
        """Take deliveries that are due; nobody else has them for 20 seconds."""
        table = DELIVERIES.c
        now = self._database.now()
        due = (
            select(table.id)
            .where(table.state == DeliveryState.PENDING, table.next_at <= now)
            .order_by(table.next_at)
            .limit(limit)
            # SQLite has no such thing, nor the need.
            .with_for_update(skip_locked=True)
        )
        taken = (
            update(DELIVERIES)
            .where(table.id.in_(due))
            .values(next_at=now + _TAKEN_SECONDS, attempts=table.attempts + 1)
            .returning(table.id)
        )

        def found(connection: Connection) -> list[Delivery]:
            identifiers = connection.scalars(taken).all()
            if not identifiers:
                return []
            query = select(*_COLUMNS).select_from(_JOINED).where(table.id.in_(identifiers))
            return [_delivery(row) for row in connection.execute(query).mappings()]

        return await self._database.write(found)

    async def delivered(self, delivery: Delivery) -> None:
        """It has arrived."""
        await self._change(delivery.id, state=DeliveryState.DELIVERED, last_error=None)

    async def failed(self, delivery: Delivery, reason: str) -> DeliveryState:
        """It has not, and is tried again later, if it was not the last attempt."""
        if delivery.attempts >= ATTEMPTS:
            await self._change(delivery.id, state=DeliveryState.DEAD, last_error=reason)
            return DeliveryState.DEAD
        wait = self._retry_seconds * 2.0 ** (delivery.attempts - 1)
        await self._change(delivery.id, next_at=self._database.now() + wait, last_error=reason)
        return DeliveryState.PENDING

    async def put_back(self, delivery: Delivery) -> None:
        """It was not made after all: another one may."""
        attempts, now = delivery.attempts - 1, self._database.now()
        await self._change(delivery.id, attempts=attempts, next_at=now)

    async def page(
        self, tenant: str, state: DeliveryState | None, limit: int
    ) -> Sequence[Delivery]:
        """The latest deliveries of a tenant."""
        query = select(*_COLUMNS).select_from(_JOINED).where(DELIVERIES.c.tenant == tenant)
        if state is not None:
            query = query.where(DELIVERIES.c.state == state)
        query = query.order_by(DELIVERIES.c.created_at.desc(), DELIVERIES.c.id).limit(limit)

        def found(connection: Connection) -> list[Delivery]:
            return [_delivery(row) for row in connection.execute(query).mappings()]

        return await self._database.read(found)

    async def resend(self, tenant: str, identifier: str) -> Delivery | None:
        """Begin anew with one that is no longer pending; None where a tenant has no such one."""
        table = DELIVERIES.c
        own = (table.id == identifier, table.tenant == tenant)
        change = (
            update(DELIVERIES)
            .where(*own, table.state != DeliveryState.PENDING)
            .values(state=DeliveryState.PENDING, attempts=0, next_at=self._database.now())
        )
        query = select(*_COLUMNS).select_from(_JOINED).where(*own)

        def found(connection: Connection) -> Delivery | None:
            connection.execute(change)
            row = connection.execute(query).mappings().one_or_none()
            return None if row is None else _delivery(row)

        return await self._database.write(found)

    async def _change(self, identifier: str, **values: Any) -> None:
        change = update(DELIVERIES).where(DELIVERIES.c.id == identifier).values(**values)

        def changed(connection: Connection) -> None:
            connection.execute(change)

        await self._database.write(changed)


def _delivery(row: Any) -> Delivery:
    return Delivery(
        row["delivery_id"],
        row["url"],
        DeliveryState(row["state"]),
        row["tries"],
        row["noted_at"],
        row["next_at"],
        row["last_error"],
        Prediction.of(row),
    )
