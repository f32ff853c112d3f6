"""Guidance intervals: the pictures per second that they save, and the objects that they cost."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from statistics import median
from time import perf_counter

import numpy as np
import PIL.Image
import torch

from benchmarks import embedded
from benchmarks.workloads import WORKLOADS
from contract.request import GenerationRequest
from engine.blocking import generate
from engine.engine import Engine
from models.catalog import load_catalog
from training.embedded.evaluate import Accuracy, judge_pictures
from training.embedded.judge import Judge
from training.embedded.pictures import GUIDANCE, STEPS, held_out_requests
from training.embedded.scenes import SIDE, Pixels
from training.embedded.world import World, load_world
from training.machine import describe

JUDGE = Path(__file__).parents[1] / "training" / "embedded" / "judge"
INTERVALS = ((0.0, 1.0), (0.0, 0.8), (0.0, 0.6), (0.2, 0.8))
CLIENTS = 16
REQUESTS = 120  # of the mixed workload: two blocks
PER_OBJECT = 4
SEED = 11


def compare_intervals(rounds: int) -> None:
    """Print a Markdown table: for each interval, pictures per second in the mixed workload with 16
    clients (median of ``rounds``, taken by turns), and how the judge reads the embedded model's
    held-out pairs."""
    engine, world = embedded.build(), load_world()
    judge = Judge.load(JUDGE, torch.device("cpu"))
    sequence = islice(WORKLOADS["mixed"].requests(SEED), REQUESTS)
    mixed = [each.generation_request() for each in sequence]
    rates: dict[tuple[float, float], list[float]] = {interval: [] for interval in INTERVALS}
    _rate(engine, mixed[:CLIENTS])
    for _ in range(rounds):
        for interval in INTERVALS:
            rates[interval].append(_rate(engine, _limited(mixed, interval)))
    accuracies = {each: _accuracy(engine, judge, world, each) for each in INTERVALS}
    engine.close()
    everything = median(rates[INTERVALS[0]])
    print(f"{describe()}; mixed, {CLIENTS} clients, {rounds} rounds\n")
    print("| guidance | pictures/s | ratio | background | object, top-1 | top-5 |")
    print("|---|---:|---:|---:|---:|---:|")
    for (start, end), accuracy in accuracies.items():
        rate = median(rates[start, end])
        print(
            f"| {start:g} to {end:g} | {rate:.2f} | {rate / everything:.2f} "
            f"| {accuracy.background:.1%} | {accuracy.top1:.1%} | {accuracy.top5:.1%} |"
        )


def _limited(
    requests: Sequence[GenerationRequest], interval: tuple[float, float]
) -> list[GenerationRequest]:
    start, end = interval
    return [replace(each, guidance_start=start, guidance_end=end) for each in requests]


def _rate(engine: Engine, requests: Sequence[GenerationRequest]) -> float:
    """Pictures per second of a closed loop."""
    began = perf_counter()
    _pictures(engine, requests)
    return len(requests) / (perf_counter() - began)


def _pictures(engine: Engine, requests: Sequence[GenerationRequest]) -> list[Pixels]:
    """The picture of each request, made by so many clients at a time."""
    waiting: SimpleQueue[int] = SimpleQueue()
    for number in range(len(requests)):
        waiting.put(number)
    pictures: dict[int, Pixels] = {}

    def client() -> None:
        while True:
            try:
                number = waiting.get_nowait()
            except Empty:
                return
            (image,) = generate(engine, requests[number])
            file = PIL.Image.open(BytesIO(image.data)).convert("RGB")
            pictures[number] = np.asarray(file)

    clients = [threading.Thread(target=client, daemon=True) for _ in range(CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    return [pictures[number] for number in range(len(requests))]


def _accuracy(
    engine: Engine, judge: Judge, world: World, interval: tuple[float, float]
) -> Accuracy:
    """How the judge reads pictures of held-out pairs, as ``python -m training evaluate`` has it."""
    wanted = held_out_requests(world, PER_OBJECT)
    scheduler = load_catalog(None).get("embedded").defaults.scheduler
    requests = [
        GenerationRequest(
            request_id=f"accuracy-{number}",
            model="embedded",
            prompt=each.prompt,
            width=SIDE,
            height=SIDE,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            scheduler=scheduler,
            seed=each.seed,
        )
        for number, each in enumerate(wanted)
    ]
    pictures = _pictures(engine, _limited(requests, interval))
    return judge_pictures(judge, world, wanted, pictures)
