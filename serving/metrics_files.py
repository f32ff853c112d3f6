"""The files that prometheus_client keeps the measurements of a process in, safe on a full disk.

It maps files that have a size but no blocks: writing to a new page of one on a full disk is a bus
error, which ends the process. Here the blocks are there before a file is mapped, and what cannot be
recorded for want of them is left out.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from prometheus_client import mmap_dict, values

logger = logging.getLogger(__name__)

# What an entry takes beside its key: two lengths, padding, value and time.
_ENTRY_BYTES = 32


class AllocatedDict(mmap_dict.MmapedDict):
    """A ``MmapedDict`` that raises nothing and whose file has all its blocks.

    A value that finds no place is not in the file, and is tried again when it changes.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        self._fname = filename
        self._read_mode = read_mode
        self._f: Any = None
        self._positions: dict[str, int] = {}
        try:
            self._open()
        except OSError as error:
            _left_out(error)

    def read_value(self, key: str) -> tuple[float, float]:
        try:
            value, timestamp = super().read_value(key)  # type: ignore[no-untyped-call]
        except OSError as error:
            _left_out(error)
            return 0.0, 0.0
        return value, timestamp

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        try:
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
        except OSError as error:
            _left_out(error)

    def _open(self) -> None:
        path = Path(self._fname)
        if not path.exists():
            # A reader must not find a file that is there and still empty.
            new = path.with_suffix(".new")
            with new.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, mmap_dict._INITIAL_MMAP_SIZE)
            new.rename(path)
        with path.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, max(file.tell(), mmap_dict._INITIAL_MMAP_SIZE))
        try:
            super().__init__(self._fname, self._read_mode)  # type: ignore[no-untyped-call]
        except OSError:
            self._f = None
            raise

    def _init_value(self, key: str) -> None:
        if self._f is None:
            self._open()
            if key in self._positions:
                return
        size = self._capacity
        while self._used + len(key.encode()) + _ENTRY_BYTES > size:
            size *= 2
        os.posix_fallocate(self._f.fileno(), 0, size)
        super()._init_value(key)  # type: ignore[no-untyped-call]


def install() -> None:
    """Have prometheus_client keep the measurements of this process so; before it has any.

    Raises:
        RuntimeError: prometheus_client is another one than this was made for.
    """
    replaced = {"_init_value", "read_value", "write_value"}
    if "MmapedDict" not in vars(values) or not replaced <= vars(mmap_dict.MmapedDict).keys():
        raise RuntimeError("prometheus_client keeps its values in another way than expected")
    vars(values)["MmapedDict"] = AllocatedDict


def _left_out(error: OSError) -> None:
    logger.warning("a measurement is left out: %s", error.strerror)
