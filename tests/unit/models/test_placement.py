"""Device and precision: resolved, or refused in a sentence."""

from __future__ import annotations

from typing import Protocol

import pytest

from models import placement
from models.placement import Placement, UnsupportedPrecision, place


class Machine(Protocol):
    def __call__(self, *, obstacle: str | None, flags: set[str]) -> None: ...


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Pretend to be a machine with or without a GPU and AVX-512 BF16."""

    def pretend(*, obstacle: str | None, flags: set[str]) -> None:
        monkeypatch.setattr(placement, "_cuda_obstacle", lambda: obstacle)
        monkeypatch.setattr(placement, "_cpu_flags", lambda: flags)

    return pretend


@pytest.mark.parametrize(
    ("device", "asked", "gpu", "expected"),
    [
        ("auto", "auto", False, ("cpu", "fp32")),
        ("auto", "auto", True, ("cuda", "fp16")),
        ("cpu", "auto", True, ("cpu", "fp32")),
        ("cuda", "fp32", True, ("cuda", "fp32")),
        ("auto", "bf16", True, ("cuda", "bf16")),
        ("cpu", "bf16", False, ("cpu", "bf16")),
    ],
)
def test_possible(
    machine: Machine, device: str, asked: str, gpu: bool, expected: tuple[str, str]
) -> None:
    machine(obstacle=None if gpu else "there is no GPU", flags={"avx512_bf16"})
    assert place(device, asked) == Placement(*expected)


@pytest.mark.parametrize(
    ("device", "asked", "gpu", "words"),
    [
        ("cuda", "auto", False, "SD_DEVICE=cuda, but there is no GPU: set SD_DEVICE=cpu or auto"),
        ("auto", "fp16", False, "fp16 needs a CUDA GPU, but there is no GPU"),
        ("cpu", "fp16", True, "fp16 needs a CUDA GPU, but the device is the CPU"),
        ("cpu", "bf16", True, "bf16 needs a CUDA GPU or a CPU with AVX-512 BF16"),
    ],
)
def test_impossible(machine: Machine, device: str, asked: str, gpu: bool, words: str) -> None:
    machine(obstacle=None if gpu else "there is no GPU", flags=set())
    with pytest.raises(UnsupportedPrecision) as refusal:
        place(device, asked)
    assert words in str(refusal.value)


def test_hidden_gpus_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(UnsupportedPrecision, match="CUDA_VISIBLE_DEVICES hides all GPUs"):
        place("cuda", "auto")
