"""One module per architecture, each adapting a diffusers pipeline to the engine."""

from __future__ import annotations

from models.catalog import ModelEntry
from models.errors import ModelError

SERVED_FAMILIES = frozenset({"sd1", "sd2"})


def check_served(entry: ModelEntry) -> None:
    """Raise ``ModelError`` for a model of an architecture that has no module here yet."""
    if entry.family not in SERVED_FAMILIES:
        raise ModelError(
            f"{entry.name} is of the family {entry.family}; only "
            f"{', '.join(sorted(SERVED_FAMILIES))} can be served yet."
        )
