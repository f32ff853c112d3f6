"""What would stop the service later is found, and said in a sentence, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from engine.families import check_served
from engine.precision import Placement, UnsupportedPrecision
from models.catalog import ModelEntry
from models.errors import ModelError
from models.store import resolve


@contextmanager
def explained() -> Iterator[None]:
    """End the process with one line instead of a traceback where the user can mend the cause."""
    try:
        yield
    except ValidationError as error:
        mistakes = "; ".join(_sentence(mistake) for mistake in error.errors(include_url=False))
        raise SystemExit(f"cannot start: {mistakes}") from None
    except (ModelError, UnsupportedPrecision) as error:
        raise SystemExit(f"cannot start: {error}") from None


def _sentence(mistake: ErrorDetails) -> str:
    message = mistake["msg"].removeprefix("Value error, ")
    if not mistake["loc"]:
        # About two settings that contradict each other: it names them.
        return message
    return f"SD_{str(mistake['loc'][0]).upper()}={mistake['input']}: {message}"


def check(entries: Sequence[ModelEntry], placement: Placement) -> None:
    """Raise ``ModelError`` for a model that is not here, or that the engine cannot run."""
    for entry in entries:
        check_served(entry)
        resolve(entry, placement.precision)
