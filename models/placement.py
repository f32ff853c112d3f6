"""Device and numeric precision: what the settings ask for, and what the machine can do.

Free of torch, as every process needs this, and only the one with the engine needs torch.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal


class UnsupportedPrecision(ValueError):
    """A device or precision that this machine cannot offer."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where models are, and what they compute with.

    Attributes:
        device: ``cpu`` or ``cuda``.
        precision: fp32, fp16 or bf16.
        text_encoders: where those are; None for ``device``.
    """

    device: str
    precision: str
    text_encoders: Literal["cpu"] | None = None

    @property
    def text_device(self) -> str:
        """The text encoders' device."""
        return self.text_encoders or self.device

    @property
    def text_precision(self) -> str:
        """The text encoders' precision: beside a GPU, fp32 on the CPU, which is slow with less."""
        return self.precision if self.text_device == self.device else "fp32"


def place(device: str, precision: str) -> Placement:
    """Resolve ``auto`` and refuse what cannot work.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``; auto is CUDA if torch can use a GPU here.
        precision: ``auto``, ``fp32``, ``fp16`` or ``bf16``; auto is fp16 on CUDA, fp32 on a CPU.

    Raises:
        UnsupportedPrecision: says in a sentence what is missing and what to set instead.
    """
    if device == "cuda" and (reason := _cuda_obstacle()):
        raise UnsupportedPrecision(f"SD_DEVICE=cuda, but {reason}: set SD_DEVICE=cpu or auto")
    if device == "auto":
        device = "cpu" if _cuda_obstacle() else "cuda"
    if precision == "auto":
        precision = "fp16" if device == "cuda" else "fp32"
    if reason := obstacle(device, precision):
        raise UnsupportedPrecision(
            f"SD_PRECISION={precision} {reason}: set SD_PRECISION=fp32 or auto"
        )
    return Placement(device, precision)


def obstacle(device: str, precision: str) -> str | None:
    """Why this machine cannot compute like that, or None if it can.

    Args:
        device: ``cpu`` or ``cuda``.
        precision: fp32, fp16 or bf16.
    """
    missing = _cuda_obstacle()
    if device == "cuda":
        return missing
    if precision == "fp16":
        return f"needs a CUDA GPU, but {missing or 'the device is the CPU'}"
    if precision == "bf16" and "avx512_bf16" not in _cpu_flags():
        return "needs a CUDA GPU or a CPU with AVX-512 BF16, which this one lacks"
    return None


def _cuda_obstacle() -> str | None:
    """Why torch cannot use CUDA here, or None if it can."""
    if metadata.version("torch").endswith("+cpu"):
        return "the installed torch is a build for CPUs"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides all GPUs"
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return "this machine has no NVIDIA GPU"
    return None


def _cpu_flags() -> set[str]:
    """Instruction sets of the CPU as Linux names them; empty on other systems."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return set()
    for line in cpuinfo.read_text().splitlines():
        if line.startswith("flags"):
            return set(line.split(":", 1)[1].split())
    return set()
