"""One pass at a time: the denoiser's step for the jobs that share it."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import wait
from dataclasses import replace
from functools import partial
from itertools import accumulate
from time import monotonic

import torch

from contract.observer import Observer, Pass, RowOutcome
from engine.cpu.threads import ThreadPlan, ThreadTuner, set_threads
from engine.denoising.state import DenoisingState
from engine.job import Job
from engine.limits import BatchLimits
from engine.pipelines.base import DiffusionModel
from engine.thread_pool import started_pool
from engine.weights.memory import is_out_of_memory, release

logger = logging.getLogger(__name__)


class DenoiseStage:
    """Steps batches of jobs forward, in fewer rows where memory runs out.

    Args:
        limits: bounds of a pass; lowered when a pass within them did not fit.
        threads: runs the passes.
        observer: is told of every pass.
    """

    def __init__(self, limits: BatchLimits, threads: ThreadTuner, observer: Observer) -> None:
        self.limits = limits
        self._threads = threads
        self._observer = observer
        self._helper = started_pool(1, "engine-denoiser")

    def close(self) -> None:
        """End its threads."""
        self._helper.shutdown()

    def step(self, family: DiffusionModel, batch: Sequence[Job]) -> list[tuple[Job, BaseException]]:
        """Take one step for every job of the batch; returns those that failed, and why."""
        started = monotonic()
        rows = sum(job.denoising.rows for job in batch)
        padded = self.limits.padded(rows, batch[0].pixels)
        states = [job.denoising for job in batch]
        predictions: list[torch.Tensor] | None = None
        try:
            predictions = self._threads.run(
                ("pass", batch[0].request.model),
                padded * batch[0].pixels,
                lambda: family.forward(states, padded),
                # Padding is there for the shape of the whole.
                partial(self._divided, family, states)
                if len(batch) > 1 and padded == rows
                else None,
            )
        except Exception as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                return [(job, error) for job in batch]
        if predictions is None:
            # Not in the handler: there, the exception holds on to the tensors of the pass.
            return self._halve(family, batch, rows)
        failed: list[tuple[Job, BaseException]] = []
        for job, prediction in zip(batch, predictions, strict=True):
            try:
                job.denoising.advance(prediction)
            except Exception as error:
                failed.append((job, error))
                continue
            job.served_at = started
            job.row_steps += job.denoising.rows
        self._observer.spent(RowOutcome.PADDING, padded - rows)
        self._observer.denoised(
            Pass(
                model=batch[0].request.model,
                size=(batch[0].request.width, batch[0].request.height),
                jobs=tuple(job.name for job in batch),
                job_rows=tuple(job.denoising.rows for job in batch),
                lora_sets=len({state.loras.uses for state in states if state.loras.uses}),
                rows=padded,
                started=started,
                seconds=monotonic() - started,
            )
        )
        return failed

    def _divided(
        self, family: DiffusionModel, states: Sequence[DenoisingState], way: ThreadPlan
    ) -> list[torch.Tensor]:
        """Make a pass in two parts at the same time, one of them here."""
        rows = list(accumulate(state.rows for state in states))
        # Where the second half of the rows begins, and no half is empty.
        middle = max(1, bisect_right(rows, rows[-1] / 2))
        other = self._helper.submit(_part, family, states[middle:], way.threads)
        try:
            predictions = _part(family, states[:middle], way.threads)
        finally:
            wait([other])
        return [*predictions, *other.result()]

    def _halve(
        self, family: DiffusionModel, batch: Sequence[Job], rows: int
    ) -> list[tuple[Job, BaseException]]:
        """Run a batch that did not fit in two, and make no such batch again."""
        half = len(batch) // 2
        logger.warning("out of memory with %d rows in a pass, halving it", rows)
        if not self.limits.invariant:
            self.limits = replace(self.limits, pixels=rows // 2 * batch[0].pixels)
        release()
        return [*self.step(family, batch[:half]), *self.step(family, batch[half:])]


def _part(
    family: DiffusionModel, states: Sequence[DenoisingState], threads: int
) -> list[torch.Tensor]:
    # Both are a matter of the thread.
    set_threads(threads)
    with torch.inference_mode():
        return family.forward(states, sum(state.rows for state in states))
