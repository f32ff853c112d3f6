"""A batch-invariant diffusion model: to the last bit, a picture is the same in any company."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import PIL.Image
import torch

from engine.cpu.threads import set_threads
from engine.denoising.state import DenoisingState
from engine.limits import BatchLimits
from engine.lora.adapter import Adapter
from engine.pipelines.base import NO_ADAPTERS, DiffusionModel, ModelDecorator, SegmentRequest
from engine.thread_pool import started_pool


class BatchInvariant(ModelDecorator):
    """Makes pictures of another model the same to the last bit.

    Kernels round otherwise for another number of rows. So a pass is cut into blocks, all of one
    number of rows: only the last one has padding. Prompts and pictures are encoded and decoded one
    by one.

    Args:
        model: does the work; at most ``parallel`` of its ``forward`` run at the same time.
        limits: have the rows of a block.
        parallel: blocks at a time, on a CPU with one thread each; 1 leaves the threads as they are.
    """

    def __init__(self, model: DiffusionModel, limits: BatchLimits, *, parallel: int = 1) -> None:
        super().__init__(model)
        self._limits = limits
        self._parallel = parallel
        self._pool: ThreadPoolExecutor | None = None
        if parallel > 1:
            self._pool = started_pool(parallel, "engine-block")

    def prepare(
        self, wanted: Sequence[SegmentRequest], adapters: Mapping[str, Adapter] = NO_ADAPTERS
    ) -> list[DenoisingState]:
        return [state for each in wanted for state in self._model.prepare([each], adapters)]

    def forward(self, states: Sequence[DenoisingState], rows: int) -> list[torch.Tensor]:
        pixels = states[0].latents[0, 0].numel() * self.latent_scale**2
        blocks = list(_blocks(states, self._limits.block_rows(pixels)))
        if self._pool is None:
            done = [self._model.forward(block, rows) for block, rows in blocks]
        else:
            futures = [self._pool.submit(self._block, block, rows) for block, rows in blocks]
            # All of them, before one's exception makes the engine go on.
            wait(futures)
            done = [future.result() for future in futures]
        predictions = {
            id(state): prediction
            for (block, _), results in zip(blocks, done, strict=True)
            for state, prediction in zip(block, results, strict=True)
        }
        return [predictions[id(state)] for state in states]

    def decode(self, states: Sequence[DenoisingState]) -> list[PIL.Image.Image | ArithmeticError]:
        return [picture for state in states for picture in self._model.decode([state])]

    def _block(self, states: Sequence[DenoisingState], rows: int) -> list[torch.Tensor]:
        # Both are a matter of the thread.
        set_threads(1)
        with torch.inference_mode():
            return self._model.forward(states, rows)


def _blocks(
    states: Iterable[DenoisingState], rows: int
) -> Iterable[tuple[list[DenoisingState], int]]:
    """Fill blocks, the jobs with the most rows first: where all have one or two, none of the even
    number of rows stays free.

    Yields:
        The jobs of a block and its rows: ``rows``, but for a job that has more of its own.
    """
    block: list[DenoisingState] = []
    used = 0
    for state in sorted(states, key=lambda each: -each.rows):
        if state.rows > rows:
            yield [state], state.rows
            continue
        if used + state.rows > rows:
            yield block, rows
            block, used = [], 0
        block.append(state)
        used += state.rows
    if block:
        yield block, rows
