"""The memory of the API server: what bodies and connections took goes back to the system."""

from __future__ import annotations

import ctypes
from typing import Final

# <malloc.h> of glibc
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_BYTES: Final = 128 * 1024


def give_back() -> None:
    """Have blocks from 128 KiB on be the system's again as soon as they are free.

    That is where glibc begins, but each large block that is freed raises the bound, to 32 MiB: from
    then on bodies leave holes in a heap that never shrinks. Other C libraries need no telling.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _BYTES)
        mallopt(_M_TRIM_THRESHOLD, _BYTES)
