"""What pictures of different sizes gain by sharing passes of an MMDiT.

One picture of each size takes a step: all in one pass, and in a pass for each size. The transformer
is as large as that of ``embedded-3`` and has random weights. Time is that of the one thread that
computes, not that of the clock: what else runs on the cores counts little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from time import thread_time
from typing import Any, Final

import torch
from diffusers import SD3Transformer2DModel

from engine.denoising.conditioning import Conditioning
from engine.pipelines.packed_mmdit import PackedMMDiT
from training.embedded.mmdit import ABSENT_TOKENS, ARCHITECTURE
from training.machine import describe

TEXT_TOKENS: Final = 32 + ABSENT_TOKENS
SCALE: Final = 4  # pixels for each latent pixel, along a side
LATENTS: Final = 64  # along a side, at most
# Width and height of the pictures, in pixels.
MIXES: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "64 × 64, 64 × 80": ((64, 64), (64, 80)),
    "four of 64 to 96": ((64, 64), (64, 96), (96, 64), (80, 80)),
    "eight of 64 to 128": (
        *((64, 64), (64, 80), (80, 64), (64, 96)),
        *((96, 64), (96, 96), (64, 128), (128, 64)),
    ),
    "64 × 64, 128 × 128": ((64, 64), (128, 128)),
    "four of 96 to 160": ((128, 128), (112, 144), (144, 112), (96, 160)),
    "64 × 64, 256 × 256": ((64, 64), (256, 256)),
    "256 × 256, 224 × 256": ((256, 256), (224, 256)),
}


@torch.inference_mode()
def compare_mixes(rounds: int) -> None:
    """Print a Markdown table: medians of interleaved passes in milliseconds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(**(ARCHITECTURE | {"pos_embed_max_size": LATENTS})).eval()
    print(f"{describe()}; one thread, {TEXT_TOKENS} text tokens, {rounds} rounds\n")
    print("| one picture of each size | rows of each | apart, ms | together, ms | gain |")
    print("|---|---:|---:|---:|---:|")
    for name, sizes in MIXES.items():
        for rows in (1, 2):
            apart, together = _measured(_passes(transformer, sizes, rows), rounds)
            gain = apart / together
            print(
                f"| {name} | {rows} | {1e3 * apart:.0f} | {1e3 * together:.0f} | {gain:.2f} |",
                flush=True,
            )


def _passes(
    transformer: Any, sizes: Sequence[tuple[int, int]], rows: int
) -> tuple[Callable[[], None], Callable[[], None]]:
    """The passes apart, and the one together."""
    config, total = transformer.config, rows * len(sizes)
    latents = [
        torch.randn(rows, config.in_channels, height // SCALE, width // SCALE)
        for width, height in sizes
    ]
    times = torch.rand(total) * 1000
    text = torch.randn(total, TEXT_TOKENS, config.joint_attention_dim)
    pooled = torch.randn(total, config.pooled_projection_dim)
    packed = PackedMMDiT(transformer)

    def apart() -> None:
        for number, each in enumerate(latents):
            own = slice(number * rows, (number + 1) * rows)
            transformer(
                hidden_states=each,
                timestep=times[own],
                encoder_hidden_states=text[own],
                pooled_projections=pooled[own],
            )

    def together() -> None:
        conditioning = {"encoder_hidden_states": text, "pooled_projections": pooled}
        packed.predict(latents, times, Conditioning(conditioning), {})

    return apart, together


def _measured(ways: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """Seconds of each; the first round does not count."""
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds + 1):
        for way, times in zip(ways, seconds, strict=True):
            started = thread_time()
            way()
            times.append(thread_time() - started)
    return [median(times[1:]) for times in seconds]
