"""The intake: predictions are written down, and those that can be are leased by the way."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from sqlalchemy import Connection

from api.predictions.batches import Batches
from api.predictions.claims import Claim
from api.predictions.database import Database
from api.predictions.prediction import Order, Prediction, pictures_of
from api.predictions.statements import acceptance, row_of, same_order


class Intake:
    """Runs its queries on a database.

    Args:
        database: with the tables.
        claiming: makes the claim of this process's worker on what waits, of which a transaction
            is to make the most; what is leased then, begins when it is left.
    """

    def __init__(
        self,
        database: Database,
        claiming: Callable[[], AbstractAsyncContextManager[Claim]],
    ) -> None:
        self._database = database
        self._claiming = claiming
        self._statement = acceptance(database)
        self._accepts = Batches(self._accept_all)

    async def accept(self, order: Order, folder: str) -> tuple[Prediction, bool]:
        """Write a prediction down, unless its id or its idempotency key is there already.

        Args:
            order: what is asked for.
            folder: of its files.

        Returns:
            The prediction, and whether it is new. One that is there may be another tenant's, or
            for something else: compare it.
        """
        options = order.options
        timeouts = [one for one in (options.start_timeout, options.deadline) if one is not None]
        row = {
            **row_of(order, options.id or uuid.uuid4().hex, folder),
            "idempotency_key": options.idempotency_key,
            "input_bytes": len(pictures_of(order.request)),
            "priority": options.priority,
            "start_in": min(timeouts, default=None),
            "end_in": options.deadline,
            "webhook": options.webhook,
            "webhook_events": list(options.webhook_events) if options.webhook else None,
        }
        if self._database.on_one_host:
            row["now"] = time.time()
        prediction = await self._accepts.add((row, order))
        # Also where it was not known whether the first try had been committed.
        return prediction, prediction.folder == folder

    async def _accept_all(self, batch: Sequence[tuple[dict[str, Any], Order]]) -> list[Prediction]:
        """Write predictions down; of those that are there already, what is there."""
        async with self._claiming() as claim:

            def accepted(connection: Connection) -> list[Prediction]:
                predictions = self._written(connection, batch)
                claim.make(connection)
                if not {one.number for one in predictions} <= claim.numbers:
                    self._database.announce(connection, "new")
                return predictions

            return await self._database.write(accepted)

    def _written(
        self, connection: Connection, batch: Sequence[tuple[dict[str, Any], Order]]
    ) -> list[Prediction]:
        rows = connection.execute(self._statement, [row for row, _ in batch]).mappings()
        made = {row["id"]: Prediction.of(row) for row in rows.all()}
        predictions = []
        for row, order in batch:
            prediction = made.get(row["id"])
            if prediction is None:
                old = connection.execute(same_order(order, row["id"])).mappings().first()
                if old is None:
                    raise LookupError(row["id"])
                prediction = Prediction.of(old)
            predictions.append(prediction)
        return predictions
