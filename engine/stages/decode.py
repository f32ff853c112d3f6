"""From final latents to pictures, in batches."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic

import PIL.Image
import torch

from contract.observer import Observer, Phase
from engine.cost import CostEstimate
from engine.cpu.threads import ThreadTuner
from engine.job import Job
from engine.limits import BatchLimits, pick
from engine.pipelines.base import DiffusionModel
from engine.weights.memory import release

logger = logging.getLogger(__name__)


class DecodeStage:
    """Decodes batches of finished jobs, in smaller ones where that fails.

    Args:
        threads: runs the decoding.
        observer: is told how long it took.
        batch_invariant: decode one picture at a time, so that it cannot depend on its neighbours.
    """

    def __init__(self, threads: ThreadTuner, observer: Observer, *, batch_invariant: bool) -> None:
        self._threads = threads
        self._observer = observer
        self._batch_invariant = batch_invariant
        self._pace = CostEstimate()  # a unit is a pixel

    def choose(
        self, denoised: Sequence[Job], limits: BatchLimits, seconds: float | None
    ) -> list[Job]:
        """The jobs to decode next: those of one shape, as many as take no more than ``seconds``
        together, if given, and one at least."""
        batch = pick(denoised, limits)
        if self._batch_invariant:
            return batch[:1]
        if seconds is None:
            return batch
        return batch[: max(1, self._pace.affordable(seconds) // batch[0].pixels)]

    def decode(
        self, family: DiffusionModel, batch: Sequence[Job]
    ) -> list[tuple[Job, PIL.Image.Image | BaseException]]:
        """Decode jobs of one shape; each comes back with its picture, or with what went wrong."""
        started = monotonic()
        sound: list[Job] = []
        pictures: list[PIL.Image.Image] | None = None
        try:
            sound = [job for job in batch if bool(torch.isfinite(job.denoising.latents).all())]
            pictures = self._decode(family, sound) if sound else []
        except Exception as error:
            if len(batch) == 1:
                return [(batch[0], error)]
            logger.warning("decoding %d pictures failed, halving: %s", len(batch), error)
        if pictures is None:
            # Not in the handler: there, the exception holds on to the tensors.
            release()
            half = len(batch) // 2
            return [*self.decode(family, batch[:half]), *self.decode(family, batch[half:])]
        if sound:
            seconds = monotonic() - started
            self._pace.record(sum(job.pixels for job in sound), seconds)
            for _ in sound:
                self._observer.phase(Phase.DECODE, seconds)
        failure = ArithmeticError("the latents are not finite")
        unsound = [(job, failure) for job in batch if job not in sound]
        return [*zip(sound, pictures, strict=True), *unsound]

    def _decode(self, family: DiffusionModel, batch: Sequence[Job]) -> list[PIL.Image.Image]:
        states = [job.denoising for job in batch]
        return self._threads.run(
            ("decode", batch[0].request.model),
            len(batch) * batch[0].pixels,
            lambda: family.decode(states),
        )
