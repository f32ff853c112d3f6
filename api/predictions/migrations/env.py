"""What Alembic runs for each migration: on the connection that it was given."""

from __future__ import annotations

from alembic import context

# Nothing is there to be run for others that import it.
if hasattr(context, "config"):
    context.configure(connection=context.config.attributes["connection"])
    context.run_migrations()
