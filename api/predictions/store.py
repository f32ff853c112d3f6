"""The store: predictions as their clients see them, listed, ended, cancelled and deleted."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, func, or_, select

from api.predictions.database import Database
from api.predictions.outbox import add_delivery
from api.predictions.prediction import (
    UNFINISHED,
    Order,
    Output,
    Prediction,
    Status,
)
from api.predictions.statements import COLUMNS, ending, found, row_of, same_order, with_text
from api.predictions.tables import PREDICTIONS, SECRETS


@dataclass(frozen=True, slots=True)
class Filter:
    """Which predictions to list. Times are seconds since 1970, ``search`` is part of a prompt."""

    status: Status | None = None
    model: str | None = None
    search: str | None = None
    id_prefix: str | None = None
    created_after: float | None = None
    created_before: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Predictions that are not over by tenant, the bytes of all files, and of theirs."""

    unfinished: Mapping[str, int]
    bytes: int
    needed: int


class Store:
    """Runs its queries on a database.

    Args:
        database: with the tables.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        # Made once, as that takes longer than to run them.
        self._end = ending(database, leased=False)
        self._end_leased = ending(database, leased=True)

    async def secret(self, name: str) -> bytes:
        """A secret of 256 bits that all hosts share, made when it is first asked for."""
        new = self._database.insert(SECRETS).values(name=name, value=secrets.token_hex(32))

        def kept(connection: Connection) -> str:
            connection.execute(new.on_conflict_do_nothing())
            return str(connection.scalar(select(SECRETS.c.value).where(SECRETS.c.name == name)))

        return bytes.fromhex(await self._database.write(kept))

    async def keep(
        self, order: Order, folder: str, outputs: Sequence[Output], seconds: float
    ) -> Prediction:
        """Write a prediction down that is over.

        Args:
            order: what was asked for.
            folder: of its files.
            outputs: its pictures.
            seconds: that it took.
        """
        identifier, now = uuid.uuid4().hex, self._database.now()
        values: dict[str, Any] = {
            **row_of(order, identifier, folder),
            **dict.fromkeys(("priority", "not_before", "input_bytes", "step", "total"), 0),
            **dict.fromkeys(("created_at", "started_at"), now - seconds),
            "status": Status.SUCCEEDED,
            "attempts": 1,
            "completed_at": now,
            "outputs": [asdict(one) for one in outputs],
            "output_bytes": sum(one.bytes for one in outputs),
        }
        # The first try may have been committed after all.
        kept = self._database.insert(PREDICTIONS).values(values).on_conflict_do_nothing()
        query = select(*COLUMNS).where(PREDICTIONS.c.id == identifier)

        def written(connection: Connection) -> Prediction:
            connection.execute(kept)
            return Prediction.of(connection.execute(query).mappings().one())

        return await self._database.write(written)

    async def known(self, order: Order) -> Prediction | None:
        """The prediction with the id or the idempotency key of an order, if it has any."""
        options = order.options
        if options.id is None and options.idempotency_key is None:
            return None
        known = await found(self._database, same_order(order, options.id or ""))
        return next(iter(known), None)

    async def find(self, identifier: str) -> Prediction | None:
        """The prediction of an id."""
        query = select(*COLUMNS).where(PREDICTIONS.c.id == identifier)
        return next(iter(await found(self._database, query)), None)

    async def page(
        self, tenant: str, wanted: Filter, before: int | None, limit: int
    ) -> Sequence[Prediction]:
        """The latest predictions of a tenant, those with a lower number than ``before``."""
        table = PREDICTIONS.c
        conditions = [table.tenant == tenant]
        if before is not None:
            conditions.append(table.number < before)
        if wanted.status is not None:
            conditions.append(table.status == wanted.status)
        if wanted.model is not None:
            conditions.append(table.served_as == wanted.model)
        if wanted.search is not None:
            conditions.append(with_text(wanted.search))
        if wanted.id_prefix is not None:
            # LIKE would not tell capitals in SQLite.
            start = func.substr(table.id, 1, len(wanted.id_prefix))
            conditions.append(start == wanted.id_prefix)
        if wanted.created_after is not None:
            conditions.append(table.created_at > wanted.created_after)
        if wanted.created_before is not None:
            conditions.append(table.created_at < wanted.created_before)
        query = select(*COLUMNS).where(*conditions).order_by(table.number.desc()).limit(limit)
        return await found(self._database, query)

    async def position(self, prediction: Prediction) -> int:
        """How many predictions wait in front of one that waits, if they were taken in order."""
        table = PREDICTIONS.c
        ahead = or_(
            table.priority > prediction.priority,
            and_(table.priority == prediction.priority, table.number < prediction.number),
        )
        query = select(func.count()).where(table.status == Status.STARTING, ahead)

        def count(connection: Connection) -> int:
            return int(connection.scalar(query) or 0)

        return await self._database.read(count)

    async def usage(self) -> Usage:
        """What counts for the limits."""
        table = PREDICTIONS.c
        counts = (
            select(table.tenant, func.count())
            .where(table.status.in_(UNFINISHED))
            .group_by(table.tenant)
        )
        size = table.input_bytes + table.output_bytes
        stored = select(
            func.coalesce(func.sum(size), 0),
            func.coalesce(func.sum(size).filter(table.status.in_(UNFINISHED)), 0),
        ).where(table.removed_at.is_(None))

        def used(connection: Connection) -> Usage:
            rows = connection.execute(counts).all()
            unfinished = {str(row[0]): int(row[1]) for row in rows}
            total, needed = connection.execute(stored).one()
            return Usage(unfinished, int(total), int(needed))

        return await self._database.read(used)

    async def cancel(self, prediction: Prediction) -> Prediction | None:
        """End one that is not over; None where it is over already.

        Who runs it is told at once, or finds that its lease is gone.
        """
        return await self.end(prediction.number, {"status": Status.CANCELED})

    async def end(
        self, number: int, values: Mapping[str, Any], lease: str | None = None
    ) -> Prediction | None:
        """End a prediction that is not over, and put its last webhook down for delivery.

        Args:
            values: of its columns.
            lease: ends it only for the holder of this lease; None for whoever may.

        Returns:
            The prediction as it will be for good; None where it is over, or leased to another.
        """
        change, given = self._end, {"of_number": number, **values}
        if lease is not None:
            change = self._end_leased
            given["of_lease"] = lease
        if self._database.on_one_host:
            given["now"] = time.time()

        def ended(connection: Connection) -> Prediction | None:
            row = connection.execute(change, given).mappings().one_or_none()
            if row is None:
                return None
            prediction = Prediction.of(row)
            add_delivery(self._database, connection, prediction)
            self._database.announce(connection, f"over {prediction.id}")
            return prediction

        return await self._database.write(ended)

    async def delete(self, prediction: Prediction) -> bool:
        """Delete one that is over; False where it is not."""
        table = PREDICTIONS.c
        query = delete(PREDICTIONS).where(
            table.number == prediction.number, table.status.not_in(UNFINISHED)
        )

        def deleted(connection: Connection) -> bool:
            return connection.execute(query).rowcount == 1

        return await self._database.write(deleted)
