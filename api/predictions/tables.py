"""The tables of the store, for both databases. ``migrations`` makes and changes them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA: Final = MetaData()
# Times are seconds since 1970.
_NUMBER: Final = BigInteger().with_variant(Integer, "sqlite")

PREDICTIONS: Final = Table(
    "predictions",
    METADATA,
    # In the order of acceptance.
    Column("number", _NUMBER, primary_key=True, autoincrement=True),
    Column("id", String(128), nullable=False, unique=True),
    Column("tenant", String(256), nullable=False),
    Column("idempotency_key", String(256)),
    # Of what the client has sent.
    Column("digest", String(64), nullable=False),
    # The one that must be served to run it, and the name that the client knows it by.
    Column("model", String(256), nullable=False),
    Column("served_as", String(256), nullable=False),
    Column("input", JSON, nullable=False),
    # A ``GenerationRequest`` without its pictures.
    Column("request", Text, nullable=False),
    # Of its files.
    Column("folder", String(32), nullable=False),
    Column("input_bytes", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("started_at", Float(53)),
    Column("completed_at", Float(53)),
    Column("start_by", Float(53)),
    Column("end_by", Float(53)),
    Column("not_before", Float(53), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("lease", String(32)),
    Column("lease_until", Float(53)),
    Column("step", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("outputs", JSON),
    Column("output_bytes", BigInteger, nullable=False),
    Column("error_code", String(64)),
    Column("error", Text),
    Column("webhook", Text),
    Column("webhook_events", JSON),
    Column("base_url", Text, nullable=False),
    Column("removed_at", Float(53)),
    UniqueConstraint("tenant", "idempotency_key", name="predictions_idempotency"),
)

DELIVERIES: Final = Table(
    "deliveries",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column(
        "prediction",
        _NUMBER,
        ForeignKey("predictions.number", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("tenant", String(256), nullable=False),
    Column("url", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("next_at", Float(53), nullable=False),
    Column("last_error", Text),
)

DOCUMENTS: Final = Table(
    "documents",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("text", Text, nullable=False),
)

SECRETS: Final = Table(
    "secrets",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("value", String(128), nullable=False),
)

# What API keys have had, by days since 1970 (UTC).
USAGE: Final = Table(
    "usage",
    METADATA,
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("key", String(64), primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("pictures", BigInteger, nullable=False),
    Column("pixel_steps", BigInteger, nullable=False),
)
