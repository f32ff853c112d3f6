"""The header for what was not done as it was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable

NAME = "X-Warnings"
# Proxies have room for 4 or 8 KiB of headers, all together.
MAX_CHARS = 2_000


def header_of(sentences: Iterable[str]) -> dict[str, str]:
    """Each sentence once, as a JSON array in ASCII; long ones are cut until the header is short."""
    unique = list(dict.fromkeys(sentences))
    if not unique:
        return {}
    value = json.dumps(unique)
    length = max(map(len, unique))
    while len(value) > MAX_CHARS and length:
        length //= 2
        value = json.dumps([_shortened(sentence, length) for sentence in unique])
    return {NAME: value}


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + "..."
