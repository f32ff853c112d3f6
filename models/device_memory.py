"""The memory that a device has."""

from __future__ import annotations

from pathlib import Path

import psutil

_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, in cgroup v2


def device_memory(device: str) -> int:
    """Bytes of the memory of ``cpu``, as far as a container may use it, or of ``cuda``, where
    others may have taken some of it."""
    if device == "cuda":
        # Most processes have no use for it.
        import torch

        return int(torch.cuda.get_device_properties(0).total_memory)
    memory = int(psutil.virtual_memory().total)
    try:
        limit = _LIMIT.read_text().strip()
    except OSError:
        return memory
    return memory if limit == "max" else min(memory, int(limit))
