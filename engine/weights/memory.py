"""Memory errors, as the devices report them, and the release of memory."""

from __future__ import annotations

import ctypes
import gc

import torch

# How torch's CPU allocator, C++ and oneDNN put it; they have no exception type of their own.
_CPU_SIGNS = ("can't allocate memory", "bad_alloc", "not enough memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of a pass says that it was too large for the device's memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _CPU_SIGNS)


def release() -> None:
    """Give memory that nothing refers to any more back to the device and the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)
