r"""The weights that are written in a prompt.

``(some words:1.3)`` gives words a weight: 1 is none, 0 leaves them out, 2 is the most. Groups nest,
and their weights multiply. A bracket that is to be nothing but a bracket there is written ``\(`` or
``\)``. Everything else means what it says, plain brackets and other programs' weights (``word++``)
included.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import NamedTuple

MAX_WEIGHT = 2.0

_PIECE = re.compile(r"\\[()]|[()]|[^\\()]+|\\")
_WEIGHT = re.compile(r"\s*(?P<weight>[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]+)?)\s*")


class Fragment(NamedTuple):
    """A stretch of a prompt with one weight, 0 to ``MAX_WEIGHT``."""

    text: str
    weight: float


def parse(prompt: str) -> tuple[list[Fragment], list[str]]:
    """Split a prompt at its weights; neighbours of equal weight are one fragment.

    Returns:
        The fragments, none of them empty, and the weights, as written, that were out of range
        and so taken for 0 or ``MAX_WEIGHT``.
    """
    clamped: list[str] = []
    found: list[Fragment] = []
    opened: list[int] = []  # where in ``found`` the brackets are that wait for their end
    previous = ""
    for match in _PIECE.finditer(prompt):
        piece = match[0]
        if piece == "(":
            opened.append(len(found))
        start = opened.pop() if piece == ")" and opened else None
        if start is None or not _weighted(found, start, previous, clamped):
            found.append(Fragment(piece[-1] if piece in (r"\(", r"\)") else piece, 1.0))
        previous = piece
    return [
        Fragment("".join(text for text, _ in equal), weight)
        for weight, equal in groupby(found, key=lambda fragment: fragment.weight)
    ], clamped


def _weighted(found: list[Fragment], start: int, last: str, clamped: list[str]) -> bool:
    """Weight what follows the bracket at ``start``, if ``last``, the last piece, ends in a weight.

    That piece alone is looked at, so that nests, however deep, cost no more than other prompts.

    Returns:
        Whether it did; if not, it is a pair of plain brackets, and ``found`` is as it was.
    """
    text, colon, tail = last.rpartition(":")
    match = _WEIGHT.fullmatch(tail) if colon else None
    if match is None:
        return False
    # In ((one:1.2) two:1.1) the inner group comes first, and the last text may be empty.
    inner = [each for each in [*found[start + 1 : -1], Fragment(text, 1.0)] if each.text]
    if not any(text.strip() for text, _ in inner):
        return False
    written = float(match["weight"])
    factor = min(max(written, 0.0), MAX_WEIGHT)
    if written != factor or any(weight * factor > MAX_WEIGHT for _, weight in inner):
        clamped.append(match["weight"])
    found[start:] = [Fragment(text, min(weight * factor, MAX_WEIGHT)) for text, weight in inner]
    return True
