"""The denoise stage: one step for the jobs that share a pass of the denoiser."""

from __future__ import annotations

from time import monotonic

import torch

from contract.observer import Observer, Pass, RowOutcome
from engine.job import Failures
from engine.pipelines.base import DiffusionModel
from engine.plan import Plan
from engine.weights.memory import is_out_of_memory


class PassTooLarge(Exception):
    """A pass of several jobs did not fit into the device's memory; none of them took a step."""


class DenoiseStage:
    """Steps batches of jobs forward.

    Args:
        observer: is told of every pass.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def run(self, model: DiffusionModel, plan: Plan) -> Failures:
        """Launch one step for every job of the plan; returns those that failed, and why.

        What the model raises fails all of them.

        Raises:
            PassTooLarge: fewer jobs have to share a pass.
        """
        started = monotonic()
        predictions: list[torch.Tensor] | None = None
        try:
            predictions = model.forward([job.denoising for job in plan.jobs], plan.rows)
        except Exception as error:
            if len(plan.jobs) == 1 or not is_out_of_memory(error):
                raise
        if predictions is None:
            # Not in the handler: there, the exception holds on to the tensors of the pass.
            raise PassTooLarge
        failures: Failures = []
        for job, rows, prediction in zip(plan.jobs, plan.job_rows, predictions, strict=True):
            job.served_at = started
            job.row_steps += rows
            try:
                job.denoising.advance(prediction)
            except Exception as error:
                failures.append((job, error))
        self._observer.spent(RowOutcome.PADDING, plan.rows - sum(plan.job_rows))
        return failures

    def measured(self, plan: Plan, lora_sets: int, started: float, seconds: float) -> None:
        """Report a pass once the device has done it."""
        request = plan.jobs[0].request
        self._observer.denoised(
            Pass(
                model=plan.model,
                size=(request.width, request.height),
                jobs=tuple(job.name for job in plan.jobs),
                job_rows=plan.job_rows,
                lora_sets=lora_sets,
                rows=plan.rows,
                started=started,
                seconds=seconds,
            )
        )
