"""The rows of a module's calls."""

from __future__ import annotations

from typing import Any


class Rows:
    """The batch sizes of a module's calls."""

    def __init__(self, module: Any) -> None:
        self.calls: list[int] = []
        self._handle = module.register_forward_pre_hook(
            lambda _, arguments: self.calls.append(len(arguments[0]))
        )

    def __enter__(self) -> list[int]:
        return self.calls

    def __exit__(self, *_: object) -> None:
        self._handle.remove()
