"""The places that keys come from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from api.keys.document import UnusableKeys, parse
from api.keys.key import Key


class KeySource(Protocol):
    """Where keys are stored."""

    def read(self) -> dict[str, Key] | None:
        """The keys by their ids; None where they are the same as at the last call.

        Called every second or so in a thread, one call at a time; the first one at the start, where
        there may be no event loop yet. A source that is told of changes, or has to wait for its
        answers, returns what it knows by now.

        Raises:
            UnusableKeys: says in a sentence what is wrong, and where.
        """
        ...


class TextKeys:
    """Keys of the environment, which stay as they are.

    Args:
        text: see ``api.keys.document.parse``.
        name: of the variable.
    """

    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name
        self._known = False

    def read(self) -> dict[str, Key] | None:
        if self._known:
            return None
        try:
            keys = parse(self._text)
        except UnusableKeys as error:
            raise UnusableKeys(f"{self._name}: {error}") from None
        self._known = True
        return keys


class FileKeys:
    """Keys of a file that others replace: ``python -m api.keys``, or Kubernetes, which exchanges a
    link in the path.

    Args:
        path: of the file.
        name: of the variable that names it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._seen: tuple[int, ...] | None = None

    def read(self) -> dict[str, Key] | None:
        try:
            with self._path.open("rb") as file:
                # Of the file that is open, whatever the path leads to by now.
                state = os.fstat(file.fileno())
                seen = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
                if seen == self._seen:
                    return None
                keys = parse(file.read().decode())
        except OSError as error:
            raise UnusableKeys(
                f"{self._name}={self._path} cannot be read: {error.strerror}; "
                "python -m api.keys create NAME makes it"
            ) from None
        except ValueError as error:
            raise UnusableKeys(f"{self._name}={self._path}: {error}") from None
        self._seen = seen
        return keys
