"""How much is tried: enough for every change, or all that ``make test-full`` has time for."""

from __future__ import annotations

import os
from typing import Final

import pytest

FULL: Final = os.environ.get("EFFORT") == "full"

# For tests whose like is elsewhere in the test suite, or that take their time.
only_in_full = pytest.mark.skipif(not FULL, reason="takes a while: make test-full")


def effort(usual: int, full: int) -> int:
    """A number of examples: the first one in the test suite, the second one with EFFORT=full."""
    return full if FULL else usual
