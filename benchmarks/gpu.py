"""A model at real size with random weights: the engine against stock diffusers, in one process.

Where the denoiser is large, HTTP is small change; what counts is what the device does.
"""

from __future__ import annotations

# ruff: noqa: E402
# Before torch is imported.
from runners import environment

environment.prepare()

import io
import json
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from itertools import count, cycle, islice
from pathlib import Path
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from benchmarks.contestant import ROOT
from benchmarks.contestants.stock import Order, Stock
from benchmarks.machine import describe
from engine.batch import BUCKETS, BatchLimits
from engine.engine import Engine
from engine.events import Event, Failed, ends
from engine.families.stable_diffusion import StableDiffusion
from engine.request import GenerationRequest
from engine.residency import Residency

CONFIGS = Path(__file__).parent / "configs"
TOKENIZER = ROOT / "models" / "embedded" / "tokenizer"
GUIDANCE = 7.5
BATCH = 8


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
        config=CONFIGS / "sd15",
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
    with torch.device(scale.device):
        unet = UNet2DConditionModel.from_config(
            UNet2DConditionModel.load_config(scale.config / "unet")
        )
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(scale.config / "vae"))
        text_encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(scale.config / "text_encoder"))
    pipeline = StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=CLIPTokenizer.from_pretrained(TOKENIZER),
        scheduler=DDIMScheduler.from_pretrained(scale.config / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    for component in (unet, vae, text_encoder):
        component.eval().requires_grad_(False)
    return pipeline.to(scale.device, scale.dtype)


def measure(scale: Scale) -> GpuFigures:
    """Take all figures. Stock diffusers comes first, as the engine lays the weights out anew."""
    stock = Stock(build(scale), io.StringIO())
    ceiling = _matrix_product(scale)
    uniform, mixed = [_order(scale, scale.steps, 0)], scale.mixture
    serial = _rate(scale, lambda: stock.draw(uniform), pictures=1)
    batch = [_order(scale, scale.steps, seed) for seed in range(BATCH)]
    batched = _rate(scale, lambda: stock.draw(batch), pictures=BATCH)
    with _RequestBatcher(stock) as batcher:
        request_level = _closed_loop(scale, mixed, batcher.draw)

    pipeline = build(scale)
    flop = _row_flop(scale, pipeline)
    family = StableDiffusion(pipeline)
    step = [_step(scale, family, size, flop, ceiling) for size in scale.batches]
    engine = Engine(
        Residency.preloaded({"model": family}),
        limits=BatchLimits(rows=64, pixels=64 * scale.side**2, buckets=BUCKETS),
    )
    try:
        draw = _in_engine(engine, scale)
        own = _closed_loop(scale, (scale.steps,), draw)
        own_mixed = _closed_loop(scale, mixed, draw)
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
        states = family.prepare([_request(scale, scale.steps, seed) for seed in range(size)])
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


def _closed_loop(scale: Scale, mixture: Sequence[int], draw: Callable[[Order], object]) -> float:
    """Pictures per second of clients who each ask for the next picture when they have one."""
    orders = [
        _order(scale, steps, seed)
        for seed, steps in enumerate(islice(cycle(mixture), scale.pictures))
    ]
    with ThreadPoolExecutor(scale.clients) as clients:
        list(clients.map(draw, orders[: scale.clients]))
        began = perf_counter()
        list(clients.map(draw, orders))
        return len(orders) / (perf_counter() - began)


def _order(scale: Scale, steps: int, seed: int) -> Order:
    return Order(
        "a red apple on a blue background", scale.side, scale.side, steps, GUIDANCE, "ddim", seed
    )


def _request(scale: Scale, steps: int, seed: int) -> GenerationRequest:
    order = _order(scale, steps, seed)
    return GenerationRequest(
        request_id=f"bench-{seed}",
        model="model",
        prompt=order.prompt,
        width=order.width,
        height=order.height,
        num_inference_steps=order.steps,
        guidance_scale=order.guidance,
        scheduler=order.scheduler,
        seed=order.seed,
    )


def _in_engine(engine: Engine, scale: Scale) -> Callable[[Order], None]:
    numbers = count()

    def draw(order: Order) -> None:
        done = threading.Event()
        last: list[Event] = []

        def emit(event: Event) -> None:
            if ends(event):
                last.append(event)
                done.set()

        engine.submit(_request(scale, order.steps, next(numbers)), emit)
        done.wait()
        if isinstance(last[0], Failed):
            raise RuntimeError(last[0].message)

    return draw


class _RequestBatcher:
    """Batches whole requests: takes what waits, up to ``BATCH``, and makes it in as few calls of
    the pipeline as the requests allow."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock
        self._waiting: SimpleQueue[tuple[Order, Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._loop)

    def __enter__(self) -> _RequestBatcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.put(None)
        self._thread.join()

    def draw(self, order: Order) -> object:
        picture: Future[Any] = Future()
        self._waiting.put((order, picture))
        return picture.result()

    def _loop(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            while len(batch) < BATCH:
                try:
                    # As short a wait as Ray's and BentoML's: for those that come together.
                    another = self._waiting.get(timeout=0.01)
                except Empty:
                    break
                if another is None:
                    self._waiting.put(None)
                    break
                batch.append(another)
            self._answer(batch)

    def _answer(self, batch: list[tuple[Order, Future[Any]]]) -> None:
        try:
            pictures = self._stock.draw_all([order for order, _ in batch])
        except Exception as error:
            for _, waiting in batch:
                waiting.set_exception(error)
            return
        for (_, waiting), picture in zip(batch, pictures, strict=True):
            waiting.set_result(picture)
