"""Leases: who runs which prediction. A lease ends by itself where its holder shows no life."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    Connection,
    Executable,
    Select,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)

from api.predictions.claims import Claim, Leased
from api.predictions.database import Database
from api.predictions.outbox import add_delivery
from api.predictions.prediction import Prediction, Status
from api.predictions.statements import COLUMNS, moment
from api.predictions.tables import PREDICTIONS
from contract.errors import ErrorCode

# Others may take some of them at the same time.
_CANDIDATES: Final = 4


class Leases:
    """Runs its queries on a database.

    Args:
        database: with the tables.
        seconds: how long a lease holds without a renewal.
        attempts: how often a prediction is begun.
    """

    def __init__(self, database: Database, seconds: float, attempts: int) -> None:
        self._database = database
        self._seconds = seconds
        self._attempts = attempts
        self._now = moment(database)
        # Made once, as that takes longer than to run them.
        self._next = self._looking()
        self._take_numbers = self._taking(bindparam("numbers", expanding=True))

    async def take(self, models: Collection[str], limit: int) -> list[Leased]:
        """Take predictions with these models that wait: by priority, the tenants in turns, then in
        the order of acceptance."""
        claim = self.claim(models, limit)
        await self._database.write(claim.make)
        return claim.leased

    def claim(self, models: Collection[str], limit: int) -> Claim:
        """The same as a part of a transaction."""
        take = self._take_next if self._database.on_one_host else self._take_free
        wanted = {"models": list(models), "most": limit}
        return Claim(partial(take, wanted, uuid.uuid4().hex))

    def _take_next(
        self, wanted: Mapping[str, Any], lease: str, connection: Connection
    ) -> list[Leased]:
        """Take those that are next, where nobody else writes meanwhile."""
        now = {"now": time.time()}
        numbers = connection.scalars(self._next, {**wanted, **now}).all()
        if not numbers:
            return []
        given = {"numbers": numbers, **now}
        leased = self._take_these(self._take_numbers, given, lease, connection)
        return _in_order(leased, numbers)

    def _take_free(
        self, wanted: Mapping[str, Any], lease: str, connection: Connection
    ) -> list[Leased]:
        """Take those that are next and that nobody else takes meanwhile."""
        given = {**wanted, "most": wanted["most"] * _CANDIDATES}
        numbers = connection.scalars(self._next, given).all()
        if not numbers:
            return []
        table = PREDICTIONS.c
        # The order of the candidates, of which others may have taken some meanwhile.
        rank = case({number: place for place, number in enumerate(numbers)}, value=table.number)
        free = (
            select(table.number)
            .where(table.number.in_(numbers), table.status == Status.STARTING)
            .order_by(rank)
            .limit(wanted["most"])
            .with_for_update(skip_locked=True)
        )
        return _in_order(self._take_these(self._taking(free), {}, lease, connection), numbers)

    def _take_these(
        self, taking: Executable, given: Mapping[str, Any], lease: str, connection: Connection
    ) -> list[Leased]:
        rows = connection.execute(taking, {**given, "new_lease": lease}).mappings().all()
        return [Leased(Prediction.of(row), lease, row["request"], row["left"]) for row in rows]

    def _looking(self) -> Select[int]:
        """The statement that finds the numbers of those that are to be taken first."""
        table = PREDICTIONS.c
        waits = and_(
            table.status == Status.STARTING,
            table.not_before <= self._now,
            table.model.in_(bindparam("models", expanding=True)),
            or_(table.start_by.is_(None), table.start_by > self._now),
        )
        running = (
            select(table.tenant, func.count().label("running"))
            .where(table.status == Status.PROCESSING)
            .group_by(table.tenant)
            .subquery()
        )
        place = func.row_number().over(
            partition_by=(table.tenant, table.priority), order_by=table.number
        )
        turn = func.coalesce(running.c.running, 0) + place
        return (
            select(table.number)
            .select_from(PREDICTIONS.outerjoin(running, running.c.tenant == table.tenant))
            .where(waits)
            .order_by(table.priority.desc(), turn, table.number)
            .limit(bindparam("most"))
        )

    def _taking(self, numbers: Select[int] | BindParameter[Any]) -> Executable:
        """The statement that takes predictions."""
        table = PREDICTIONS.c
        return (
            update(PREDICTIONS)
            .where(table.number.in_(numbers))
            .values(
                status=Status.PROCESSING,
                started_at=self._now,
                attempts=table.attempts + 1,
                lease=bindparam("new_lease"),
                lease_until=self._now + self._seconds,
                step=0,
                total=0,
            )
            .returning(*COLUMNS, table.request, (table.end_by - self._now).label("left"))
        )

    async def renew(self, progress: Mapping[tuple[int, str], tuple[int, int]]) -> set[int]:
        """Show life, and how far each has come; returns the numbers of those that are still ours.

        Args:
            progress: step and total, by number and lease.
        """
        table = PREDICTIONS.c

        def renewed(connection: Connection) -> set[int]:
            kept: set[int] = set()
            for (number, lease), (step, total) in progress.items():
                change = (
                    update(PREDICTIONS)
                    .where(
                        table.number == number,
                        table.lease == lease,
                        table.status == Status.PROCESSING,
                    )
                    .values(
                        lease_until=self._database.now() + self._seconds, step=step, total=total
                    )
                )
                if connection.execute(change).rowcount == 1:
                    kept.add(number)
            return kept

        return await self._database.write(renewed)

    async def release(self, leased: Leased, seconds: float, counts: bool) -> None:
        """Give one back, to be taken again after ``seconds``.

        Args:
            counts: whether the attempt was one; not where it was never begun.
        """
        table = PREDICTIONS.c
        change = (
            update(PREDICTIONS)
            .where(
                table.number == leased.prediction.number,
                table.lease == leased.lease,
                table.status == Status.PROCESSING,
            )
            .values(
                status=Status.STARTING,
                lease=None,
                lease_until=None,
                started_at=None,
                not_before=self._database.now() + seconds,
                attempts=table.attempts if counts else table.attempts - 1,
            )
        )

        def released(connection: Connection) -> None:
            connection.execute(change)
            self._database.announce(connection, "new")

        await self._database.write(released)

    async def reclaim(self) -> list[Prediction]:
        """Take back what is leased to those that show no life, and end what is too late or was
        begun too often; returns those that have ended."""
        table = PREDICTIONS.c
        now = self._database.now()
        silent = and_(table.status == Status.PROCESSING, table.lease_until < now)
        back = (
            update(PREDICTIONS)
            .where(silent, table.attempts < self._attempts)
            .values(status=Status.STARTING, lease=None, lease_until=None, started_at=None)
        )
        given_up = self._ended(
            silent,
            ErrorCode.INTERNAL,
            f"the process that ran it has died {self._attempts} times",
        )
        late = self._ended(
            and_(table.status == Status.STARTING, table.start_by < now),
            ErrorCode.DEADLINE_EXCEEDED,
            "it could not be begun in time",
        )

        def reclaimed(connection: Connection) -> list[Prediction]:
            connection.execute(back)
            ended = [
                Prediction.of(row)
                for change in (given_up, late)
                for row in connection.execute(change).mappings().all()
            ]
            for prediction in ended:
                add_delivery(self._database, connection, prediction)
                self._database.announce(connection, f"over {prediction.id}")
            return ended

        return await self._database.write(reclaimed)

    def exhausted(self, leased: Leased) -> bool:
        """Whether this was the last attempt."""
        return leased.prediction.attempts >= self._attempts

    def _ended(self, condition: Any, code: ErrorCode, message: str) -> Any:
        return (
            update(PREDICTIONS)
            .where(condition)
            .values(
                status=Status.FAILED,
                completed_at=self._database.now(),
                lease_until=None,
                error_code=code,
                error=message,
            )
            .returning(*COLUMNS)
        )


def _in_order(leased: Collection[Leased], numbers: Sequence[int]) -> list[Leased]:
    return sorted(leased, key=lambda one: numbers.index(one.prediction.number))
