"""How much is tried: what ``make test`` has time for, or all of it."""

from __future__ import annotations

import os
from typing import Final

import pytest

FULL: Final = os.environ.get("EFFORT") == "full"

# For tests that take their time, or whose like is elsewhere: `make test-rest` runs these alone.
only_in_full = pytest.mark.full


def effort(usual: int, full: int) -> int:
    """A number of examples: the first one in ``make test``, the second one with EFFORT=full."""
    return full if FULL else usual
