"""Reproducible randomness."""

from __future__ import annotations

import random


def seeded(seed: int) -> random.Random:
    """A generator of its own. Nothing here is a secret."""
    return random.Random(seed)  # noqa: S311
