"""The figures at real size, and the page that shows them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np

BATCH = 8
# MLPerf Inference's bound for SDXL's scenario Server, of the 99th percentile.
LATENCY_BOUND = 20.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFigures:
    """A denoising step of ``batch`` pictures, with guidance if the model has it."""

    batch: int
    seconds: float
    share_of_ceiling: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFigures:
    """Clients who come at random, at a share of the throughput offline; latencies in seconds."""

    share: float
    pictures: int
    p50: float
    p99: float
    within_bound: bool

    @classmethod
    def of(cls, share: float, latencies: Sequence[float]) -> Self:
        p50, p99 = (round(float(np.percentile(latencies, percent)), 4) for percent in (50, 99))
        return cls(
            share=share,
            pictures=len(latencies),
            p50=p50,
            p99=p99,
            within_bound=p99 <= LATENCY_BOUND,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFigures:
    """Pictures per second of a model, unless said otherwise.

    Attributes:
        ceiling_tflops: of a matrix product in the same precision, measured.
        row_gflop: floating-point operations of one row in one pass, 1e9.
        serial: stock diffusers, a picture at a time.
        batched: stock diffusers, a call with ``BATCH`` pictures at a time.
        engine: this service's engine, ``clients`` at once.
        request_level: pictures of different steps, batched as whole requests.
        mixed_steps: the same pictures in the engine.
        offline: the engine, all pictures asked for at once.
    """

    machine: str
    date: str
    config: str
    side: int
    steps: int
    scheduler: str
    guidance: float
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
    offline: float
    server: list[ServerFigures]


def write(figures: Sequence[GpuFigures], folder: Path) -> None:
    """Write ``benchmark-cuda.json`` and ``benchmark-cuda.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    data = json.dumps([asdict(each) for each in figures], indent=2, ensure_ascii=False)
    (folder / "benchmark-cuda.json").write_text(data + "\n", encoding="utf-8")
    (folder / "benchmark-cuda.md").write_text(page(figures), encoding="utf-8")


def page(figures: Sequence[GpuFigures]) -> str:
    """The figures as Markdown."""
    models = "\n".join(_model(each) for each in figures)
    return f"""\
# At real size

Random weights in the shapes of `models/configs`, in one process, without HTTP.

- Machine: {figures[0].machine}
- Date: {figures[0].date}
- Command: `python -m benchmarks.gpu`

{models}"""


def _model(figures: GpuFigures) -> str:
    steps = "\n".join(
        f"| {each.batch} | {each.seconds:.4f} | {each.seconds / each.batch:.4f} "
        f"| {each.share_of_ceiling:.1%} |"
        for each in figures.step
    )
    server = "\n".join(
        f"| {each.share:.0%} of offline | {each.share * figures.offline:.3f} | {each.pictures} "
        f"| {each.p50:.2f} | {each.p99:.2f} | {'yes' if each.within_bound else 'no'} |"
        for each in figures.server
    )
    side = figures.side
    return f"""\
## {figures.config}

{side} x {side} pixels, {figures.steps} steps, {figures.scheduler}, guidance {figures.guidance}.

| | pictures per second | |
| --- | --- | --- |
| stock diffusers, one at a time | {figures.serial:.3f} | |
| stock diffusers, {BATCH} in a call | {figures.batched:.3f} | |
| the engine, {figures.clients} clients | {figures.engine:.3f} \
| {figures.engine_over_serial:.2f} x one at a time |
| the engine, all at once (offline) | {figures.offline:.3f} | |
| different steps, batched as requests | {figures.request_level:.3f} | |
| different steps in the engine | {figures.mixed_steps:.3f} \
| {figures.mixed_over_request_level:.2f} x batched as requests |

Clients who come at random (a Poisson process), latencies in seconds:

| arrivals | per second | pictures | p50 | p99 | p99 ≤ {LATENCY_BOUND:g} s |
| --- | --- | --- | --- | --- | --- |
{server}

A matrix product reaches {figures.ceiling_tflops:.1f} TFLOP/s here; a row of a pass takes
{figures.row_gflop:.1f} GFLOP. A denoising step:

| pictures | seconds | seconds a picture | share of the matrix product's speed |
| --- | --- | --- | --- |
{steps}
"""
