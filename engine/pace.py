"""The pace of a model: what a denoiser pass takes, and the largest picture that follows from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from time import process_time

import torch

from contract.request import GenerationRequest, Segment
from engine.device import stopwatch
from engine.pipelines.base import DiffusionModel, SegmentRequest
from engine.weights.memory import is_out_of_memory, release

GRID = 64  # pixels of a side: bounds are squares on it, so that a restart gives about the same one
# Of the native area: sizes of other aspect ratios are rounded up.
NATIVE_MARGIN = 1.25
MEASURED = 16  # pixels of a side: sizes that are measured are multiples of it
ENOUGH = 0.4  # of the bound: from there on it is extrapolated
FAR = 0.1  # of the bound: up to there it goes in larger steps
# How the time of a pass grows with the area: convolutions linearly, attention with the square.
LEAST_EXPONENT, MOST_EXPONENT = 1.0, 2.0
# The first pass of a size pays for kernels, and short ones are often interrupted.
TRIES, TRIED_SECONDS = 3, 0.1
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container, in cgroup v2


def largest_area(
    measure: Callable[[int, int], float], native: tuple[int, int], seconds: float, most: int
) -> int:
    """Pixels of the largest picture whose pass takes no longer than that.

    Args:
        measure: what a pass takes, in seconds, by width and height; infinite if it does not fit
            into memory. Called with larger and larger sizes.
        native: width and height of the model's own size, which is always allowed, and a little
            more.
        seconds: the bound.
        most: pixels of the largest picture in any case.
    """
    least = round(math.prod(native) * NATIVE_MARGIN)
    if least >= most:
        return most
    areas, times = [math.prod(native)], [measure(*native)]
    fitted = True
    while times[-1] < ENOUGH * seconds and areas[-1] * 2 <= most:
        growth = 4 if times[-1] < FAR * seconds and areas[-1] * 4 <= most else 2
        scale = math.sqrt(areas[-1] * growth / areas[0])
        width, height = (round(side * scale / MEASURED) * MEASURED for side in native)
        time = measure(width, height)
        if math.isinf(time):
            fitted, most = False, width * height - 1
            if growth == 2:
                break
            continue
        areas.append(width * height)
        times.append(time)
    if not fitted:
        most = areas[-1]
    fits = areas[-1] * (seconds / times[-1]) ** (1 / _exponent(areas, times))
    side = int(math.sqrt(min(fits, most)) / GRID) * GRID
    return min(most, max(least, most if fits >= most else side * side))


def _exponent(areas: list[int], times: list[float]) -> float:
    """How the time grows with the area at the largest size."""
    if len(areas) == 1:
        return MOST_EXPONENT
    growth = math.log(times[-1] / times[-2]) / math.log(areas[-1] / areas[-2])
    return min(max(growth, LEAST_EXPONENT), MOST_EXPONENT)


def pass_seconds(
    model: DiffusionModel, request: GenerationRequest, rows: int, device: str, patience: float
) -> float:
    """What a pass of one picture takes on a machine that is not busy, about; infinite if it does
    not fit into memory.

    Args:
        rows: of the batch, padding included.
        patience: seconds in all after which it is not tried again.
    """
    best, spent, tries = math.inf, 0.0, 0
    try:
        with torch.inference_mode():
            (state,) = model.prepare([SegmentRequest(request, Segment(request.model))])
            while (tries < TRIES or spent < TRIED_SECONDS) and spent < patience:
                watch, before = stopwatch(device), process_time()
                model.forward([state], rows)
                watch.stop()
                seconds = watch.seconds()
                spent, tries = spent + seconds, tries + 1
                if device == "cpu":
                    # What others take of the cores is not to count.
                    cores = min(torch.get_num_threads(), _cores())
                    seconds = min(seconds, (process_time() - before) / cores)
                best = min(best, seconds)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    if math.isinf(best):
        # Not in the handler: there, the exception holds on to the tensors.
        release()
    return best


def _cores() -> float:
    """Those that a container may use; infinite where there is no bound."""
    try:
        most, period = QUOTA.read_text().split()
        return math.inf if most == "max" else int(most) / int(period)
    except (OSError, ValueError):
        return math.inf
