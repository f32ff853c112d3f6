"""From final latents to pictures, in batches."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic

import PIL.Image
import torch

from engine.batch import BatchLimits, pick
from engine.families.base import Family
from engine.job import Job
from engine.memory import is_out_of_memory, release
from engine.observer import Observer, Phase
from engine.pace import Pace
from engine.threads import ThreadTuner

logger = logging.getLogger(__name__)


class Decoder:
    """Decodes batches of finished jobs, in smaller ones where memory runs out.

    Args:
        threads: runs the decoding.
        observer: is told how long it took.
        singly: decode one picture at a time, so that it cannot depend on its neighbours.
    """

    def __init__(self, threads: ThreadTuner, observer: Observer, *, singly: bool) -> None:
        self._threads = threads
        self._observer = observer
        self._singly = singly
        self._pace = Pace()  # a unit is a pixel

    def choose(
        self, denoised: Sequence[Job], limits: BatchLimits, seconds: float | None
    ) -> list[Job]:
        """The jobs to decode next: those of one shape, as many as take no more than ``seconds``
        together, if given, and one at least."""
        batch = pick(denoised, limits)
        if self._singly:
            return batch[:1]
        if seconds is None:
            return batch
        return batch[: max(1, self._pace.affordable(seconds) // batch[0].pixels)]

    def decode(
        self, family: Family, batch: Sequence[Job]
    ) -> list[tuple[Job, PIL.Image.Image | BaseException]]:
        """Decode jobs of one shape; each comes back with its picture, or with what went wrong."""
        sound = [job for job in batch if _is_finite(job.denoising.latents)]
        unsound = ArithmeticError("the latents are not finite")
        lost: list[tuple[Job, PIL.Image.Image | BaseException]] = [
            (job, unsound) for job in batch if job not in sound
        ]
        return [*lost, *self._decode(family, sound)] if sound else lost

    def _decode(
        self, family: Family, batch: Sequence[Job]
    ) -> list[tuple[Job, PIL.Image.Image | BaseException]]:
        started = monotonic()
        states = [job.denoising for job in batch]
        kind = ("decode", batch[0].request.model, batch[0].pixels, len(batch))
        pictures: list[PIL.Image.Image] | None = None
        try:
            pictures = self._threads.run(kind, lambda: family.decode(states))
        except Exception as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                return [(job, error) for job in batch]
        if pictures is None:
            # Not in the handler: there, the exception holds on to the tensors.
            logger.warning("out of memory decoding %d pictures, halving", len(batch))
            release()
            half = len(batch) // 2
            return [*self._decode(family, batch[:half]), *self._decode(family, batch[half:])]
        seconds = monotonic() - started
        self._pace.record(sum(job.pixels for job in batch), seconds)
        for _ in batch:
            self._observer.phase(Phase.DECODE, seconds)
        return list(zip(batch, pictures, strict=True))


def _is_finite(latents: torch.Tensor) -> bool:
    return bool(torch.isfinite(latents).all())
