"""Numbers of the command lines, within their ranges."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads a whole number from ``least`` to ``most``, for an option of argparse."""

    def number(text: str) -> int:
        value = int(text)
        if value < least or (most is not None and value > most):
            limit = f"{least} or more" if most is None else f"{least} to {most}"
            raise argparse.ArgumentTypeError(f"must be {limit}, is {text}")
        return value

    return number
