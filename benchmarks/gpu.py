"""The benchmark at real size, with random weights: the engine against stock diffusers, in one
process.

Where the denoiser is large, HTTP is small change; what counts is what the device does.
"""

from __future__ import annotations

# ruff: noqa: E402
# Before torch is imported.
from assembly import environment

environment.prepare()

import io
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from benchmarks.contestant import ROOT
from benchmarks.contestants.stock import Order, Stock
from benchmarks.gpu_figures import BATCH, GUIDANCE, GpuFigures, StepFigures, write
from benchmarks.request_batcher import RequestBatcher
from benchmarks.workloads import Request
from contract.request import Segment
from engine.blocking import generate
from engine.engine import Engine
from engine.limits import BUCKETS, BatchLimits
from engine.pipelines.base import SegmentRequest
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.weights.cache import WeightCache
from training.machine import describe

CONFIGS = ROOT / "models" / "configs"
TOKENIZER = ROOT / "models" / "embedded" / "tokenizer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What is measured, and how long.

    Attributes:
        config: a folder with the configs of a pipeline's components.
        side: pixels.
        steps: of the uniform pictures.
        mixture: steps of the mixed pictures, in turn.
        batches: numbers of pictures for seconds per step.
        clients: of the closed loop.
        pictures: of each measurement in a closed loop, >= ``clients``.
        repeats: of a timed call.
        matrix: rows and columns of the matrix products that measure the ceiling.
    """

    config: Path
    device: str
    dtype: torch.dtype
    side: int
    steps: int = 20
    mixture: tuple[int, ...] = (10, 20, 50)
    batches: tuple[int, ...] = (1, 2, 4, 8, 16)
    clients: int = 8
    pictures: int = 48
    repeats: int = 5
    matrix: int = 8192


def measure_gpu(out: Path, *, quick: bool) -> int:
    """Measure Stable Diffusion 1.5 on the CUDA device; returns the exit status."""
    if not torch.cuda.is_available():
        print(
            f"--device cuda: torch {torch.__version__} finds no CUDA device here; nothing was "
            "measured",
            file=sys.stderr,
        )
        return 2
    print("SDXL is not measured: its family is not served yet")
    scale = Scale(
        config=CONFIGS / "sd-1.5",
        device="cuda",
        dtype=torch.float16,
        side=512,
        pictures=16 if quick else 48,
    )
    figures = measure(scale)
    write(figures, out)
    print(json.dumps(asdict(figures), indent=2))
    return 0


def build(scale: Scale) -> StableDiffusionPipeline:
    """A pipeline with random weights, the same ones every time."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    vocabulary = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    with torch.device(scale.device):
        unet = UNet2DConditionModel.from_config(
            UNet2DConditionModel.load_config(scale.config / "unet")
        )
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(scale.config / "vae"))
        text_encoder = CLIPTextModel(
            CLIPTextConfig.from_pretrained(scale.config / "text_encoder", **vocabulary)
        )
    pipeline = StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=DDIMScheduler.from_pretrained(scale.config / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    for component in (unet, vae, text_encoder):
        component.eval().requires_grad_(False)
    return pipeline.to(scale.device, scale.dtype)


def measure(scale: Scale) -> GpuFigures:
    """Take all figures. Stock diffusers comes first, as the engine changes the weights' layout."""
    stock = Stock(build(scale), io.StringIO())
    ceiling = _matrix_product(scale)
    uniform, mixed = [_order(_request(scale, scale.steps, 0))], scale.mixture
    serial = _rate(scale, lambda: stock.draw(uniform), pictures=1)
    batch = [_order(_request(scale, scale.steps, seed)) for seed in range(BATCH)]
    batched = _rate(scale, lambda: stock.draw(batch), pictures=BATCH)
    with RequestBatcher(stock, BATCH) as batcher:
        request_level = _closed_loop(scale, mixed, lambda request: batcher.draw(_order(request)))

    pipeline = build(scale)
    flop = _row_flop(scale, pipeline)
    family = StableDiffusion(pipeline)
    step = [_step(scale, family, size, flop, ceiling) for size in scale.batches]
    engine = Engine(
        WeightCache.preloaded({"model": family}),
        limits=BatchLimits(rows=64, pixels=64 * scale.side**2, buckets=BUCKETS),
    )

    def in_engine(request: Request) -> object:
        return generate(engine, request.generation_request("model"))

    try:
        own = _closed_loop(scale, (scale.steps,), in_engine)
        own_mixed = _closed_loop(scale, mixed, in_engine)
    finally:
        engine.close()
    return GpuFigures(
        machine=_machine(scale),
        date=date.today().isoformat(),
        config=scale.config.name,
        side=scale.side,
        steps=scale.steps,
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
    )


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


def _row_flop(scale: Scale, pipeline: Any) -> int:
    unet = pipeline.unet
    latent = scale.side // pipeline.vae_scale_factor
    options: dict[str, Any] = {"device": scale.device, "dtype": scale.dtype}
    sample = torch.randn(1, unet.config.in_channels, latent, latent, **options)
    embeds = torch.randn(1, 77, unet.config.cross_attention_dim, **options)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        unet(sample, torch.tensor([500.0], device=scale.device), encoder_hidden_states=embeds)
    return int(counter.get_total_flops())


def _step(
    scale: Scale, family: StableDiffusion, size: int, flop: int, ceiling: float
) -> StepFigures:
    with torch.inference_mode():
        requests = [
            _request(scale, scale.steps, seed).generation_request("model") for seed in range(size)
        ]
        states = family.prepare([SegmentRequest(each, Segment(each.model)) for each in requests])
        rows = sum(state.rows for state in states)
        seconds = _seconds(scale, lambda: family.forward(states, rows))
    share = rows * flop / seconds / ceiling
    return StepFigures(batch=size, seconds=round(seconds, 5), share_of_ceiling=round(share, 4))


def _rate(scale: Scale, draw: Callable[[], object], *, pictures: int) -> float:
    return pictures / _seconds(scale, draw)


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


def _closed_loop(scale: Scale, mixture: Sequence[int], draw: Callable[[Request], object]) -> float:
    """Pictures per second of clients who each ask for the next picture when they have one."""
    requests = [
        _request(scale, steps, seed)
        for seed, steps in enumerate(islice(cycle(mixture), scale.pictures))
    ]
    with ThreadPoolExecutor(scale.clients) as clients:
        list(clients.map(draw, requests[: scale.clients]))
        began = perf_counter()
        list(clients.map(draw, requests))
        return len(requests) / (perf_counter() - began)


def _request(scale: Scale, steps: int, seed: int) -> Request:
    return Request(
        number=seed,
        prompt="a red apple on a blue background",
        steps=steps,
        guidance=GUIDANCE,
        side=scale.side,
        scheduler="ddim",
        seed=seed,
    )


def _order(request: Request) -> Order:
    return Order.of(request.body())
