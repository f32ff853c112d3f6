"""From waiting jobs to running ones: prompts and pictures encoded, noise drawn, in batches."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic

from contract.observer import Observer, Phase
from engine.cost import CostEstimate
from engine.cpu.threads import ThreadTuner
from engine.job import Job
from engine.limits import BatchLimits
from engine.lora.adapter import Adapter
from engine.pipelines.base import DiffusionModel


class EncodeStage:
    """Prepares jobs, several of a model in one go.

    Args:
        threads: runs the encoders.
        observer: is told how long it took.
        batch_invariant: prepare one job at a time, so that it cannot depend on its neighbours.
    """

    def __init__(self, threads: ThreadTuner, observer: Observer, *, batch_invariant: bool) -> None:
        self._threads = threads
        self._observer = observer
        self._batch_invariant = batch_invariant
        self._text_cost = CostEstimate()  # a unit is a job without a picture
        self._image_cost = CostEstimate()  # a unit is a pixel of a given picture

    def choose(
        self,
        waiting: Iterable[Job],
        running: Sequence[Job],
        limits: BatchLimits,
        seconds: float | None,
    ) -> list[Job]:
        """The jobs to prepare next, oldest first: of one model, as many as fit.

        Pictures of a model and size are admitted until they can fill a pass, so that nobody
        waits for those of another size. What is prepared at once is meant to take no more than
        ``seconds``, if given.
        """
        left = math.inf if seconds is None else seconds
        taken = Counter[tuple[str, int, int]]()
        for job in running:
            taken[_group(job)] += job.denoising.rows
        chosen: list[Job] = []
        for job in waiting:
            if chosen and (self._batch_invariant or left < self._estimate(job)):
                break
            if chosen and job.request.model != chosen[0].request.model:
                continue
            if taken[_group(job)] < limits.capacity(job.pixels):
                chosen.append(job)
                left -= self._estimate(job)
                taken[_group(job)] += 2 if job.request.guidance_scale > 1 else 1
        return chosen

    def prepare(
        self, family: DiffusionModel, adapters: Mapping[str, Adapter], batch: Sequence[Job]
    ) -> list[tuple[Job, BaseException]]:
        """Give every job its state; returns those that failed, and why.

        Args:
            adapters: by tag, those of all jobs of the batch.
        """
        started = monotonic()
        for job in batch:
            job.admitted_at = started
            self._observer.phase(Phase.QUEUE, started - job.submitted_at)
        failed = self._prepare(family, adapters, batch)
        now = monotonic()
        if pixels := _picture_pixels(batch):
            self._image_cost.record(pixels, now - started)
        else:
            self._text_cost.record(len(batch), now - started)
        for job in batch:
            job.served_at = now
            self._observer.phase(Phase.PREPARE, now - started)
        return failed

    def _prepare(
        self, family: DiffusionModel, adapters: Mapping[str, Adapter], batch: Sequence[Job]
    ) -> list[tuple[Job, BaseException]]:
        requests = [job.request for job in batch]
        pixels = _picture_pixels(batch)
        kind = ("prepare", batch[0].request.model, pixels > 0)
        try:
            states = self._threads.run(
                kind, pixels or len(batch), lambda: family.prepare(requests, adapters)
            )
        except Exception as error:
            if len(batch) == 1:
                return [(batch[0], error)]
        else:
            for job, state in zip(batch, states, strict=True):
                job.state = state
            return []
        # One of them is to blame; the others shall not suffer for it.
        return [failure for job in batch for failure in self._prepare(family, adapters, [job])]

    def _estimate(self, job: Job) -> float:
        """Seconds that preparing a job is expected to take; none yet known is long."""
        if job.request.init_image is None:
            return self._text_cost.estimate(1)
        return self._image_cost.estimate(job.pixels)


def _picture_pixels(batch: Sequence[Job]) -> int:
    """Pixels of the given pictures."""
    return sum(job.pixels for job in batch if job.request.init_image is not None)


def _group(job: Job) -> tuple[str, int, int]:
    return job.request.model, job.request.width, job.request.height
