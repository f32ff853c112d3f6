"""The memory of the API server: what bodies and connections took goes back to the system."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from typing import Final

# <malloc.h> of glibc
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_BYTES: Final = 128 * 1024
# A collection and what follows it take the event loop a few milliseconds.
_SECONDS: Final = 10.0

_C: Final = ctypes.CDLL(None)


def give_back() -> None:
    """Have blocks from 128 KiB on be the system's again as soon as they are free.

    That is where glibc begins, but each large block that is freed raises the bound, to 32 MiB: from
    then on bodies leave holes in a heap that never shrinks. Other C libraries need no telling.
    """
    mallopt = getattr(_C, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _BYTES)
        mallopt(_M_TRIM_THRESHOLD, _BYTES)


def keep_tidy(seconds: float = _SECONDS) -> None:
    """Free what has ended every so often, as long as this event loop runs.

    Connections and requests are in reference cycles, with the bodies that came with them. Python
    looks for cycles as new objects are made: after the last of many requests nobody did. What is
    there now is not looked at, as it stays.
    """
    gc.collect()
    gc.freeze()
    asyncio.get_running_loop().call_later(seconds, _tidy, seconds)


def _tidy(seconds: float) -> None:
    gc.collect()
    # The pages in the middle of the heap, too.
    trim = getattr(_C, "malloc_trim", None)
    if trim is not None:
        trim(0)
    asyncio.get_running_loop().call_later(seconds, _tidy, seconds)
