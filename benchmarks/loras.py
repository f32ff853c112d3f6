"""The cost of LoRAs in passes of the embedded model, and of keeping them apart instead.

Four jobs with guidance take a step: in one pass, and in a pass for each set of LoRAs, which is
what an engine does that merges LoRAs into the weights (here without the time for the merging).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from statistics import median
from time import perf_counter
from typing import Any

import torch

from assembly.engine import warm_up_request
from contract.request import GenerationRequest, LoraUse, Segment
from engine.denoising.state import DenoisingState
from engine.lora.adapter import Adapter, LowRank
from engine.pipelines.base import SegmentRequest
from engine.pipelines.stable_diffusion import StableDiffusion
from models.catalog import load_catalog
from models.loading import load_pipeline
from models.store import resolve
from training.machine import describe

RANK = 16
TARGETS = ("to_q", "to_k", "to_v", "to_out.0")  # what is usually trained
# The LoRAs of each of the four jobs.
CASES: dict[str, tuple[str, ...]] = {
    "no LoRA": ("", "", "", ""),
    "all the same one": ("a", "a", "a", "a"),
    "four different ones": ("a", "b", "c", "d"),
    "half with one, half without": ("a", "a", "", ""),
    "two for each, all the same": ("ab", "ab", "ab", "ab"),
}


def compare_loras(rounds: int, threads: int) -> None:
    """Print a Markdown table: medians of interleaved passes in milliseconds."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    entry = load_catalog().get("embedded")
    pipeline = load_pipeline(
        entry, location=resolve(entry, "fp32"), dtype=torch.float32, device="cpu"
    )
    family = StableDiffusion(pipeline)
    adapters = {name: _adapter(pipeline.unet) for name in "abcd"}
    request = warm_up_request(entry)
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in CASES}
    with torch.inference_mode():
        for number in range(rounds + 1):
            for name, loras in CASES.items():
                # Hooks are there while jobs want them: each case has its own.
                states = family.prepare(
                    [
                        SegmentRequest(_with(request, each), Segment(request.model))
                        for each in loras
                    ],
                    adapters,
                )
                together = _seconds(family, [states])
                # Equal ones are neighbours in every case.
                groups = [list(group) for _, group in groupby(states, lambda state: state.loras)]
                apart = _seconds(family, groups)
                del states, groups
                if number:
                    seconds[name][0].append(together)
                    seconds[name][1].append(apart)
    plain = median(seconds["no LoRA"][0])
    print(f"{describe()}; {threads} threads, rank {RANK}, 8 rows, {rounds} rounds\n")
    print("| LoRAs of four jobs | one pass, ms | against no LoRA | kept apart, ms |")
    print("|---|---:|---:|---:|")
    for name, measured in seconds.items():
        shared, separate = (median(each) for each in measured)
        print(f"| {name} | {1e3 * shared:.1f} | {shared / plain:.2f} x | {1e3 * separate:.1f} |")


def _adapter(unet: Any) -> Adapter:
    layers = {
        path: LowRank(
            0.1 * torch.randn(RANK, layer.in_features),
            0.1 * torch.randn(layer.out_features, RANK),
            1.0,
        )
        for path, layer in unet.named_modules()
        if path.endswith(TARGETS)
    }
    return Adapter({"unet": layers})


def _with(request: GenerationRequest, names: str) -> GenerationRequest:
    return replace(request, loras=tuple(LoraUse(name) for name in names))


def _seconds(family: StableDiffusion, passes: Sequence[Sequence[DenoisingState]]) -> float:
    started = perf_counter()
    for states in passes:
        family.forward(states, sum(state.rows for state in states))
    return perf_counter() - started
