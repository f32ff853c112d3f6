"""Predictions, the deliveries of their webhooks, and the secrets that sign both."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "predictions",
        sa.Column("number", number, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(128), nullable=False, unique=True),
        sa.Column("tenant", sa.String(256), nullable=False),
        sa.Column("idempotency_key", sa.String(256)),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("served_as", sa.String(256), nullable=False),
        sa.Column("input", sa.JSON, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("folder", sa.String(32), nullable=False),
        sa.Column("input_bytes", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("started_at", sa.Float(53)),
        sa.Column("completed_at", sa.Float(53)),
        sa.Column("start_by", sa.Float(53)),
        sa.Column("end_by", sa.Float(53)),
        sa.Column("not_before", sa.Float(53), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("lease", sa.String(32)),
        sa.Column("lease_until", sa.Float(53)),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("outputs", sa.JSON),
        sa.Column("output_bytes", sa.BigInteger, nullable=False),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error", sa.Text),
        sa.Column("webhook", sa.Text),
        sa.Column("webhook_events", sa.JSON),
        sa.Column("base_url", sa.Text, nullable=False),
        sa.Column("removed_at", sa.Float(53)),
        sa.UniqueConstraint("tenant", "idempotency_key", name="predictions_idempotency"),
        # Numbers are never used again: they are what cursors are made of.
        sqlite_autoincrement=True,
    )
    op.create_index("predictions_status", "predictions", ["status", "priority", "number"])
    # What is counted again and again is in the indices alone.
    op.create_index("predictions_unfinished", "predictions", ["status", "tenant"])
    op.create_index(
        "predictions_bytes", "predictions", ["removed_at", "status", "input_bytes", "output_bytes"]
    )
    op.create_index("predictions_tenant", "predictions", ["tenant", "number"])
    op.create_index("predictions_completed", "predictions", ["completed_at"])
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column(
            "prediction",
            number,
            sa.ForeignKey("predictions.number", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("tenant", sa.String(256), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("next_at", sa.Float(53), nullable=False),
        sa.Column("last_error", sa.Text),
    )
    op.create_index("deliveries_due", "deliveries", ["state", "next_at"])
    op.create_index("deliveries_prediction", "deliveries", ["prediction"])
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.String(128), nullable=False),
    )


def downgrade() -> None:
    for table in ("secrets", "deliveries", "predictions"):
        op.drop_table(table)
