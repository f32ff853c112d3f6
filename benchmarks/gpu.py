"""The benchmark at real size, with random weights: the engine against stock diffusers, in one
process: ``python -m benchmarks.gpu``.

Where the denoiser is large, HTTP is small change; what counts is what the device does. So this
needs torch, diffusers, transformers and what the engine imports, and no server of any kind.
"""

from __future__ import annotations

# ruff: noqa: E402
# Before torch is imported.
from assembly import environment

environment.prepare()

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import date
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.contestants.stock import Order, Stock
from benchmarks.gpu_figures import BATCH, GpuFigures, ServerFigures, StepFigures, write
from benchmarks.gpu_load import all_at_once, closed_loop, poisson
from benchmarks.gpu_scale import SCALES, Scale, tiny
from benchmarks.random_models import architecture_of, random_pipeline
from benchmarks.request_batcher import RequestBatcher
from benchmarks.workloads import Request
from contract.request import GenerationRequest, Segment
from engine.blocking import generate
from engine.engine import Engine
from engine.limits import BUCKETS, BatchLimits
from engine.pipelines.base import DiffusionModel, SegmentRequest
from engine.pipelines.load import MODELS
from engine.weights.cache import WeightCache
from training.machine import describe

NAME = "model"
QUEUE = 4096  # pictures: offline, all are asked for at once


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure models on a device; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=SCALES, default=list(SCALES))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="fewer pictures, rough figures")
    parser.add_argument("--tiny", action="store_true", help="narrow models: only to try it out")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args(arguments)
    return measure_gpu(
        options.out,
        models=options.models,
        device=options.device,
        quick=options.quick,
        narrow=options.tiny,
    )


def measure_gpu(
    out: Path,
    *,
    models: Sequence[str] = tuple(SCALES),
    device: str = "cuda",
    quick: bool = False,
    narrow: bool = False,
) -> int:
    """Measure the models, and write the page after each; returns the exit status."""
    if device == "cuda" and not torch.cuda.is_available():
        print(
            f"--device cuda: torch {torch.__version__} finds no CUDA device here; nothing was "
            "measured",
            file=sys.stderr,
        )
        return 2
    figures = []
    for name in models:
        scale = SCALES[name]
        if quick:
            scale = replace(scale, pictures=max(scale.clients, scale.pictures // 4), seconds=20.0)
        if narrow:
            scale = tiny(scale, out / "configs" / name)
        if device == "cpu":
            scale = replace(scale, device="cpu", dtype=torch.float32)
        figures.append(measure(scale))
        write(figures, out)
        print(json.dumps(asdict(figures[-1]), indent=2), flush=True)
        if device == "cuda":
            torch.cuda.empty_cache()
    return 0


def load(scale: Scale) -> DiffusionModel:
    """The model as the engine runs it."""
    architecture = architecture_of(scale.config)
    # As it is loaded from files.
    vae_dtype = torch.float32 if architecture.upcasts_vae else None
    pipeline = random_pipeline(scale.config, scale.device, scale.dtype, vae_dtype=vae_dtype)
    return MODELS[architecture.name](pipeline)


def measure(scale: Scale) -> GpuFigures:
    """Take all figures of a model."""
    uniform, mixed = (scale.steps,), scale.mixture
    serial, batched, request_level = _measure_stock(scale)
    ceiling = _matrix_product(scale)
    model = load(scale)
    flop = _row_flop(scale, model)
    step = [_step(scale, model, size, flop, ceiling) for size in scale.batches]
    engine = Engine(
        WeightCache.preloaded({NAME: model}),
        limits=BatchLimits(rows=64, pixels=64 * scale.side**2, buckets=BUCKETS),
        max_queue=QUEUE,
        device=scale.device,
    )

    def in_engine(request: Request) -> object:
        return generate(engine, _wanted(scale, request))

    try:
        own = closed_loop(in_engine, _requests(scale, uniform), scale.clients)
        own_mixed = closed_loop(in_engine, _requests(scale, mixed), scale.clients)
        offline = all_at_once(in_engine, _requests(scale, uniform))
        server = [
            ServerFigures.of(
                share,
                poisson(
                    in_engine,
                    lambda seed: _request(scale, scale.steps, seed),
                    rate=share * offline,
                    seconds=scale.seconds,
                ),
            )
            for share in scale.shares
        ]
    finally:
        engine.close()
    return GpuFigures(
        machine=_machine(scale),
        date=date.today().isoformat(),
        config=scale.config.name,
        side=scale.side,
        steps=scale.steps,
        scheduler=scale.scheduler,
        guidance=scale.guidance,
        clients=scale.clients,
        ceiling_tflops=round(ceiling / 1e12, 6),
        row_gflop=round(flop / 1e9, 6),
        step=step,
        serial=round(serial, 4),
        batched=round(batched, 4),
        engine=round(own, 4),
        engine_over_serial=round(own / serial, 3),
        request_level=round(request_level, 4),
        mixed_steps=round(own_mixed, 4),
        mixed_over_request_level=round(own_mixed / request_level, 3),
        offline=round(offline, 4),
        server=server,
    )


def _measure_stock(scale: Scale) -> tuple[float, float, float]:
    """Pictures per second of stock diffusers, which is freed then: one at a time, several in a
    call, and of different steps."""
    pipeline = random_pipeline(scale.config, scale.device, scale.dtype)
    stock = Stock(pipeline, io.StringIO())
    alone = [_order(scale, _request(scale, scale.steps, 0))]
    serial = 1 / _seconds(scale, lambda: stock.draw(alone))
    batch = [_order(scale, _request(scale, scale.steps, seed)) for seed in range(BATCH)]
    batched = BATCH / _seconds(scale, lambda: stock.draw(batch))
    with RequestBatcher(stock, BATCH) as batcher:
        request_level = closed_loop(
            lambda request: batcher.draw(_order(scale, request)),
            _requests(scale, scale.mixture),
            scale.clients,
        )
    return serial, batched, request_level


def _machine(scale: Scale) -> str:
    if scale.device == "cuda":
        return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}; {describe()}"
    return describe()


def _matrix_product(scale: Scale) -> float:
    """Floating-point operations per second of a large matrix product."""
    left, right = (
        torch.randn(scale.matrix, scale.matrix, device=scale.device, dtype=scale.dtype)
        for _ in range(2)
    )
    return 2 * scale.matrix**3 / _seconds(scale, lambda: left @ right)


def _prepared(scale: Scale, model: DiffusionModel, size: int, **changes: Any) -> list[Any]:
    """States of so many pictures."""
    wanted = [
        replace(_wanted(scale, _request(scale, scale.steps, seed)), **changes)
        for seed in range(size)
    ]
    return model.prepare([SegmentRequest(each, Segment(each.model)) for each in wanted])


def _row_flop(scale: Scale, model: DiffusionModel) -> int:
    with torch.inference_mode():
        states = _prepared(scale, model, 1, guidance_scale=1.0)
        with FlopCounterMode(display=False) as counter:
            model.forward(states, 1)
    return int(counter.get_total_flops())


def _step(scale: Scale, model: DiffusionModel, size: int, flop: int, ceiling: float) -> StepFigures:
    with torch.inference_mode():
        states = _prepared(scale, model, size)
        rows = sum(state.rows for state in states)
        seconds = _seconds(scale, lambda: model.forward(states, rows))
    share = rows * flop / seconds / ceiling
    return StepFigures(batch=size, seconds=round(seconds, 5), share_of_ceiling=round(share, 4))


def _seconds(scale: Scale, work: Callable[[], object]) -> float:
    """The fastest of a few calls, after one to warm up."""
    times = []
    for _ in range(scale.repeats + 1):
        _synchronize(scale)
        began = perf_counter()
        work()
        _synchronize(scale)
        times.append(perf_counter() - began)
    return min(times[1:])


def _synchronize(scale: Scale) -> None:
    if scale.device == "cuda":
        torch.cuda.synchronize()


def _requests(scale: Scale, mixture: Sequence[int]) -> list[Request]:
    """The pictures of a measurement, of these steps in turn."""
    return [
        _request(scale, steps, seed)
        for seed, steps in enumerate(islice(cycle(mixture), scale.pictures))
    ]


def _request(scale: Scale, steps: int, seed: int) -> Request:
    return Request(
        number=seed,
        prompt="a red apple on a blue background",
        steps=steps,
        guidance=scale.guidance,
        side=scale.side,
        scheduler=scale.scheduler,
        seed=seed,
        model=NAME,
    )


def _wanted(scale: Scale, request: Request) -> GenerationRequest:
    return replace(request.generation_request(), negative_prompt=scale.negative_prompt)


def _order(scale: Scale, request: Request) -> Order:
    return replace(Order.of(request.body()), negative_prompt=scale.negative_prompt)


if __name__ == "__main__":
    sys.exit(main())
