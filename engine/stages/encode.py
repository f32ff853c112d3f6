"""The encode stage: prompts and pictures of waiting jobs encoded, noise sampled, in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic

from contract.observer import Observer, Phase
from engine.device import is_fatal
from engine.job import Failures, Job
from engine.lora.adapter import Adapter
from engine.pipelines.base import DiffusionModel
from engine.plan import Plan


class EncodeStage:
    """Prepares jobs, several of a model in one go.

    Args:
        observer: is told how long it took.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def run(
        self, model: DiffusionModel, adapters: Mapping[str, Adapter], jobs: Sequence[Job]
    ) -> Failures:
        """Give every job its state; returns those that failed, and why.

        Args:
            adapters: by tag, those of all jobs.
        """
        started = monotonic()
        for job in jobs:
            if job.handover is None:
                self._observer.phase(Phase.QUEUE, started - job.submitted_at)
            job.admitted_at = started
        failures = self._prepare(model, adapters, jobs)
        now = monotonic()
        for job in jobs:
            job.served_at = now
        return failures

    def measured(self, plan: Plan, seconds: float) -> None:
        """Report a plan once the device has done it."""
        for _ in plan.jobs:
            self._observer.phase(Phase.PREPARE, seconds)

    def _prepare(
        self, model: DiffusionModel, adapters: Mapping[str, Adapter], jobs: Sequence[Job]
    ) -> Failures:
        try:
            states = model.prepare([job.wanted for job in jobs], adapters)
        except Exception as error:
            if len(jobs) == 1 or is_fatal(error):
                return [(job, error) for job in jobs]
        else:
            for job, state in zip(jobs, states, strict=True):
                job.state, job.handover = state, None
            return []
        # One of them is the cause; the others are to be prepared all the same.
        return [failure for job in jobs for failure in self._prepare(model, adapters, [job])]
