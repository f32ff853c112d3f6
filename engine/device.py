"""The device: how long work on it takes, and the errors after which it is of no more use.

Kernels of a GPU are launched, not run: a call returns long before its work is done. So work is
timed by events on the device, and the engine never runs more than one plan ahead of it.
"""

from __future__ import annotations

from time import monotonic
from typing import Protocol

import torch

# As CUDA's runtime puts them (cudaGetErrorString); after these the context answers every call
# with an error: https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html
_FATAL = (
    "illegal memory access",
    "device-side assert",
    "unspecified launch failure",
    "misaligned address",
    "illegal instruction",
    "invalid program counter",
    "hardware stack error",
    "uncorrectable ecc error",
    "device is lost",
    "gpu has fallen off the bus",
    "launch timed out",
    "no cuda-capable device",
    "operation not supported on global/shared address space",
    "cuda error: unknown error",
    "cublas_status_execution_failed",
    "cudnn_status_execution_failed",
)


class Stopwatch(Protocol):
    """The time of one piece of work, from its creation to ``stop``."""

    def stop(self) -> None:
        """The work has been launched."""
        ...

    def done(self) -> bool:
        """Whether the device has done it."""
        ...

    def seconds(self) -> float:
        """How long the device took; waits until it is done."""
        ...


class CpuStopwatch:
    """Work on a CPU is done when its call returns."""

    def __init__(self) -> None:
        self._started = self._stopped = monotonic()

    def stop(self) -> None:
        self._stopped = monotonic()

    def done(self) -> bool:
        return True

    def seconds(self) -> float:
        return self._stopped - self._started


class CudaStopwatch:
    """Two events in the current stream; waiting for them leaves the CPU to others."""

    def __init__(self) -> None:
        self._started = torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
        self._stopped = torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
        self._started.record()

    def stop(self) -> None:
        self._stopped.record()

    def done(self) -> bool:
        return bool(self._stopped.query())  # type: ignore[no-untyped-call]

    def seconds(self) -> float:
        self._stopped.synchronize()
        return float(self._started.elapsed_time(self._stopped)) / 1000


def stopwatch(device: str) -> Stopwatch:
    """A running stopwatch for work on ``cpu`` or ``cuda``."""
    return CudaStopwatch() if device == "cuda" else CpuStopwatch()


def is_fatal(error: BaseException) -> bool:
    """Whether no work on the device can succeed any more in this process."""
    if isinstance(error, torch.OutOfMemoryError):
        return False
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in _FATAL)
