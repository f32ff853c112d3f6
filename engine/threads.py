"""How many CPU threads make a denoiser pass fastest: measured, as only the machine knows.

Threads meet at barriers hundreds of times a pass. For a small model that can cost more than they
bring (two virtual cores, the embedded model: 1.4 s a picture with two threads, 0.5 s with one).
"""

from __future__ import annotations

from statistics import median
from time import perf_counter

import torch

from engine.families.base import Family
from engine.request import GenerationRequest
from engine.state import DenoisingState

LARGE_PASS = 0.5  # seconds on one thread, from where the barriers do not matter
REPEATS = 5


def choose_threads(family: Family, request: GenerationRequest) -> int:
    """Keep torch's number of threads, or set it to one if that makes a pass faster.

    Call it before the engine starts: a thread takes the number over when it first computes.

    Args:
        family: a model on the CPU.
        request: what to measure with.

    Returns:
        The number of threads that is set now.
    """
    available = torch.get_num_threads()
    with torch.inference_mode():
        state = family.prepare(request)
        torch.set_num_threads(1)
        _pass_seconds(family, state)
        if _pass_seconds(family, state) > LARGE_PASS:
            torch.set_num_threads(available)
            return available
        alone = median(_pass_seconds(family, state) for _ in range(REPEATS))
        torch.set_num_threads(available)
        _pass_seconds(family, state)
        together = median(_pass_seconds(family, state) for _ in range(REPEATS))
    if alone < together:
        torch.set_num_threads(1)
    return torch.get_num_threads()


def _pass_seconds(family: Family, state: DenoisingState) -> float:
    started = perf_counter()
    family.forward([state])
    return perf_counter() - started
