"""The figures at real size, and the page that shows them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

GUIDANCE = 7.5
BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFigures:
    """A denoising step of ``batch`` pictures with guidance (two rows each)."""

    batch: int
    seconds: float
    share_of_ceiling: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFigures:
    """Pictures per second, unless said otherwise.

    Attributes:
        ceiling_tflops: of a matrix product in the same precision, measured.
        row_gflop: floating-point operations of one row in one pass, 1e9.
        serial: stock diffusers, a picture at a time.
        batched: stock diffusers, a call with ``BATCH`` pictures at a time.
        engine: this service's engine, ``clients`` at once.
        request_level: pictures of different steps, batched as whole requests.
        mixed_steps: the same pictures in the engine.
    """

    machine: str
    date: str
    config: str
    side: int
    steps: int
    clients: int
    ceiling_tflops: float
    row_gflop: float
    step: list[StepFigures]
    serial: float
    batched: float
    engine: float
    engine_over_serial: float
    request_level: float
    mixed_steps: float
    mixed_over_request_level: float


def write(figures: GpuFigures, folder: Path) -> None:
    """Write ``benchmark-cuda.json`` and ``benchmark-cuda.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    data = json.dumps(asdict(figures), indent=2, ensure_ascii=False)
    (folder / "benchmark-cuda.json").write_text(data + "\n", encoding="utf-8")
    (folder / "benchmark-cuda.md").write_text(page(figures), encoding="utf-8")


def page(figures: GpuFigures) -> str:
    """The figures as Markdown."""
    steps = "\n".join(
        f"| {each.batch} | {each.seconds:.4f} | {each.seconds / each.batch:.4f} "
        f"| {each.share_of_ceiling:.1%} |"
        for each in figures.step
    )
    side = figures.side
    return f"""\
# At real size

`{figures.config}` at {side} x {side} pixels with random weights, {figures.steps} steps, guidance
{GUIDANCE}, DDIM. SDXL is not measured: its family is not served yet.

- Machine: {figures.machine}
- Date: {figures.date}
- Command: `python -m benchmarks run --device cuda`

| | pictures per second | |
| --- | --- | --- |
| stock diffusers, one at a time | {figures.serial:.3f} | |
| stock diffusers, {BATCH} in a call | {figures.batched:.3f} | |
| the engine, {figures.clients} clients | {figures.engine:.3f} \
| {figures.engine_over_serial:.2f} x one at a time (aim: ≥ 2.5) |
| different steps, batched as requests | {figures.request_level:.3f} | |
| different steps in the engine | {figures.mixed_steps:.3f} \
| {figures.mixed_over_request_level:.2f} x batched as requests (aim: ≥ 1.4) |

A matrix product reaches {figures.ceiling_tflops:.1f} TFLOP/s here; a row of a pass takes
{figures.row_gflop:.1f} GFLOP. A denoising step with guidance:

| pictures | seconds | seconds a picture | share of the matrix product's speed |
| --- | --- | --- | --- |
{steps}
"""
