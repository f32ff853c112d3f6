"""The schema of the store, step by step, by Alembic: ``versions`` has a module for each."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

# Any number that nobody else locks by.
_LOCK: Final = 7_461_230_811


def upgrade(connection: Connection) -> None:
    """Bring the schema up to date, within the connection's transaction.

    Of several processes that start at a time, one does so while the others wait: on SQLite the
    transaction is the lock, as it was begun to write.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
