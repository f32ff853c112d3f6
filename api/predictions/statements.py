"""The statements of an acceptance, and what several queries have in common."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Float,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    literal,
    or_,
    select,
    update,
)

from api.predictions.database import Database
from api.predictions.prediction import FIELDS, UNFINISHED, Order, Prediction, Status, request_text
from api.predictions.tables import PREDICTIONS

# Those that make a ``Prediction``.
COLUMNS: Final = [PREDICTIONS.c[name] for name in FIELDS]


async def found(database: Database, query: Select[Any]) -> list[Prediction]:
    """The predictions that a query for ``COLUMNS`` finds."""

    def read(connection: Connection) -> list[Prediction]:
        return [Prediction.of(row) for row in connection.execute(query).mappings()]

    return await database.read(read)


def same_order(order: Order, identifier: str) -> Select[Any]:
    """The query for predictions with the id, or with the idempotency key of an order."""
    table = PREDICTIONS.c
    same = table.id == identifier
    key = order.options.idempotency_key
    if key is not None:
        same = or_(same, and_(table.tenant == order.tenant, table.idempotency_key == key))
    return select(*COLUMNS).where(same)


def with_text(text: str) -> ColumnElement[bool]:
    """The condition that a text without NUL is in one of a prediction's prompts."""
    given = PREDICTIONS.c.input
    names = ("prompt", "negative_prompt")
    found = or_(*(given[name].as_string().icontains(text, autoescape=True) for name in names))
    # Of JSON with an escaped NUL PostgreSQL can make no text.
    has_nul = cast(given, Text).contains("\\u0000", autoescape=True)
    return case((has_nul, False), else_=found)


def moment(database: Database) -> Any:
    """Now, in a statement that is made once; on SQLite it is to be given, as ``now``."""
    return bindparam("now", type_=Float) if database.on_one_host else database.now()


def ending(database: Database, leased: bool) -> Executable:
    """The statement that ends a prediction, ``of_number``, unless it is over; with whatever other
    columns it is given.

    Args:
        leased: whether only the lease ``of_lease`` may.
    """
    table = PREDICTIONS.c
    statement = (
        update(PREDICTIONS)
        .where(table.number == bindparam("of_number"), table.status.in_(UNFINISHED))
        .values(completed_at=moment(database), lease_until=None)
        .returning(*COLUMNS)
    )
    return statement.where(table.lease == bindparam("of_lease")) if leased else statement


def acceptance(database: Database) -> Executable:
    """The statement that writes a prediction down, unless it is there; made once, as that takes
    longer than to run it."""
    now = moment(database)
    given = ("id", "tenant", "idempotency_key", "digest", "model", "served_as", "input", "request")
    others = ("folder", "input_bytes", "priority", "webhook", "webhook_events", "base_url")
    row = database.insert(PREDICTIONS).values(
        {name: bindparam(name, type_=PREDICTIONS.c[name].type) for name in (*given, *others)}
        | {
            "status": literal(Status.STARTING.value),
            "created_at": now,
            "start_by": now + bindparam("start_in", type_=Float),
            "end_by": now + bindparam("end_in", type_=Float),
            **dict.fromkeys(("not_before", "attempts", "step", "total", "output_bytes"), 0),
        }
    )
    statement: Executable = row.on_conflict_do_nothing().returning(*COLUMNS)
    return statement


def row_of(order: Order, identifier: str, folder: str) -> dict[str, Any]:
    """What is written down of any order."""
    return {
        "id": identifier,
        "tenant": order.tenant,
        "digest": order.digest,
        "model": order.request.model,
        "served_as": order.request.served_as,
        "input": order.input,
        "request": request_text(order.request),
        "folder": folder,
        "base_url": order.base_url,
    }
