"""One pass at a time: the denoiser's step for the jobs that share it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

import torch

from engine.batch import BatchLimits
from engine.families.base import Family
from engine.job import Job
from engine.memory import is_out_of_memory, release
from engine.observer import Fate, Observer, Pass
from engine.threads import ThreadTuner

logger = logging.getLogger(__name__)


class Denoiser:
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

    def step(self, family: Family, batch: Sequence[Job]) -> list[tuple[Job, BaseException]]:
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
        self._observer.spent(Fate.PADDING, padded - rows)
        self._observer.denoised(
            Pass(
                model=batch[0].request.model,
                size=(batch[0].request.width, batch[0].request.height),
                jobs=tuple(job.name for job in batch),
                job_rows=tuple(job.denoising.rows for job in batch),
                rows=padded,
                started=started,
                seconds=monotonic() - started,
            )
        )
        return failed

    def _halve(
        self, family: Family, batch: Sequence[Job], rows: int
    ) -> list[tuple[Job, BaseException]]:
        """Run a batch that did not fit in two, and make no such batch again."""
        half = len(batch) // 2
        logger.warning("out of memory with %d rows in a pass, halving it", rows)
        if not self.limits.invariant:
            self.limits = replace(self.limits, pixels=rows // 2 * batch[0].pixels)
        release()
        return [*self.step(family, batch[:half]), *self.step(family, batch[half:])]
