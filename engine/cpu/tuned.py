"""A diffusion model on a CPU: each of its calls with the threads that are fastest for it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from concurrent.futures import wait
from functools import partial
from itertools import accumulate

import PIL.Image
import torch

from engine.cpu.threads import ThreadPlan, ThreadTuner, set_threads
from engine.denoising.state import DenoisingState
from engine.lora.adapter import Adapter
from engine.pipelines.base import NO_ADAPTERS, DiffusionModel, ModelDecorator, SegmentRequest
from engine.thread_pool import started_pool


class CpuTuned(ModelDecorator):
    """Runs another model with the threads that are fastest for each call.

    Args:
        model: does the work.
        threads: chooses the threads; of this model alone.
    """

    def __init__(self, model: DiffusionModel, threads: ThreadTuner) -> None:
        super().__init__(model)
        self._threads = threads
        self._other_half = started_pool(1, "engine-other-half")

    def prepare(
        self, wanted: Sequence[SegmentRequest], adapters: Mapping[str, Adapter] = NO_ADAPTERS
    ) -> list[DenoisingState]:
        pixels = sum(
            each.request.width * each.request.height
            for each in wanted
            if each.request.init_image is not None and each.handover is None
        )
        return self._threads.run(
            ("prepare", pixels > 0),
            pixels or len(wanted),
            partial(self._model.prepare, wanted, adapters),
        )

    def forward(self, states: Sequence[DenoisingState], rows: int) -> list[torch.Tensor]:
        # Padding is there for the shape of the whole.
        padding = rows - sum(state.rows for state in states)
        divisible = len(states) > 1 and not padding
        return self._threads.run(
            "forward",
            sum(_work(state) for state in states) + padding * _pixels(states[0]),
            partial(self._model.forward, states, rows),
            partial(self._divided, states) if divisible else None,
        )

    def decode(self, states: Sequence[DenoisingState]) -> list[PIL.Image.Image | ArithmeticError]:
        return self._threads.run(
            "decode", len(states) * _pixels(states[0]), partial(self._model.decode, states)
        )

    def _divided(self, states: Sequence[DenoisingState], plan: ThreadPlan) -> list[torch.Tensor]:
        """Make a pass in two parts at the same time, one of them here."""
        work = list(accumulate(map(_work, states)))
        # Where the second half of the work begins, and no half is empty.
        middle = max(1, bisect_right(work, work[-1] / 2))
        other = self._other_half.submit(self._part, states[middle:], plan.threads)
        try:
            predictions = self._part(states[:middle], plan.threads)
        finally:
            wait([other])
        return [*predictions, *other.result()]

    def _part(self, states: Sequence[DenoisingState], threads: int) -> list[torch.Tensor]:
        # Both are a matter of the thread.
        set_threads(threads)
        with torch.inference_mode():
            return self._model.forward(states, sum(state.rows for state in states))


def _work(state: DenoisingState) -> int:
    """Rows x latent pixels of the next pass, to which the time is proportional."""
    return state.rows * _pixels(state)


def _pixels(state: DenoisingState) -> int:
    """Latent pixels of the picture."""
    return state.latents[0, 0].numel()
