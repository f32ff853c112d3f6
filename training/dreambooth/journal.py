"""The log of a run: one JSON object a line, one line an update."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Journal:
    """Appends to a file; what a former run wrote after its last checkpoint is cut off.

    Args:
        step: number of the update that the run goes on from.
    """

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        kept = [line for line in _lines(path) if _step(line) <= step]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def write(self, step: int, **values: Any) -> None:
        """One line, on the disk at once."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _step(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        # The last line of a run that was killed.
        return float("inf")
