"""The decode stage: from final latents to pictures, in batches."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic

import PIL.Image
import torch

from contract.observer import Observer, Phase
from engine.job import Job
from engine.pipelines.base import DiffusionModel
from engine.weights.memory import is_out_of_memory, release

logger = logging.getLogger(__name__)


class DecodeStage:
    """Decodes batches of denoised jobs, in smaller ones where memory runs out.

    Args:
        observer: is told how long it took.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def run(
        self, model: DiffusionModel, jobs: Sequence[Job]
    ) -> list[tuple[Job, PIL.Image.Image | BaseException]]:
        """Decode jobs of one shape; each comes back with its picture, or with what went wrong."""
        started = monotonic()
        latents = torch.cat([job.denoising.latents for job in jobs])
        finite = torch.isfinite(latents).flatten(1).all(dim=1).tolist()
        sound = [job for job, whole in zip(jobs, finite, strict=True) if whole]
        results = self._decode(model, sound) if sound else []
        for _ in sound:
            self._observer.phase(Phase.DECODE, monotonic() - started)
        failure = ArithmeticError("the latents are not finite")
        return [*results, *((job, failure) for job in jobs if job not in sound)]

    def _decode(
        self, model: DiffusionModel, jobs: Sequence[Job]
    ) -> list[tuple[Job, PIL.Image.Image | BaseException]]:
        pictures: list[PIL.Image.Image | ArithmeticError] | None = None
        try:
            pictures = model.decode([job.denoising for job in jobs])
        except Exception as error:
            if len(jobs) == 1 or not is_out_of_memory(error):
                return [(job, error) for job in jobs]
        if pictures is None:
            # Not in the handler: there, the exception holds on to the tensors.
            logger.warning("out of memory with %d pictures to decode, halving them", len(jobs))
            release()
            half = len(jobs) // 2
            return [*self._decode(model, jobs[:half]), *self._decode(model, jobs[half:])]
        return list(zip(jobs, pictures, strict=True))
