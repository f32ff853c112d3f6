"""How much is tried: enough for every change, or all that ``make abuse`` has time for."""

from __future__ import annotations

import os
from typing import Final

FULL: Final = os.environ.get("ABUSE") == "full"


def effort(usual: int, full: int) -> int:
    """A number of examples: the first one in the test suite, the second one with ABUSE=full."""
    return full if FULL else usual
