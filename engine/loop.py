"""The loop of the engine: asks the scheduler what is next, and has a stage do it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic

from contract.observer import Observer, Phase
from engine.device import Stopwatch, is_fatal, stopwatch
from engine.job import Failures, Job
from engine.ledger import Ledger
from engine.limits import BatchLimits
from engine.lora.adapter import Adapter
from engine.pipelines.base import DiffusionModel
from engine.plan import Plan, Stage
from engine.scheduler import Scheduler
from engine.screening.screen import Screen
from engine.stages.decode import DecodeStage
from engine.stages.deliver import DeliverStage
from engine.stages.denoise import DenoiseStage, PassTooLarge
from engine.stages.encode import EncodeStage
from engine.weights.loader import WeightLoader
from engine.weights.memory import release

logger = logging.getLogger(__name__)


class DeviceLost(Exception):
    """The device is of no more use to this process."""


@dataclass(frozen=True, slots=True)
class _Launched:
    """Work that the device may still be doing."""

    plan: Plan
    stopwatch: Stopwatch
    started: float
    lora_sets: int
    finished: tuple[float, ...] = ()  # when the jobs that it has finished were admitted


class EngineLoop:
    """Runs jobs on one device, one plan a turn. Called from one thread, in ``inference_mode``.

    The device is never more than one plan behind: plan n is launched when n - 2 is done.

    Args:
        weights: models and LoRAs.
        limits: of a pass.
        ledger: in which the jobs end.
        observer: receives the measurements.
        screens: by the name of a model.
        device: ``cpu`` or ``cuda``.
        wake: called from another thread when weights have been loaded: a turn is due.
    """

    def __init__(
        self,
        weights: WeightLoader,
        limits: BatchLimits,
        ledger: Ledger,
        observer: Observer,
        screens: Mapping[str, Screen],
        device: str,
        wake: Callable[[], None],
    ) -> None:
        self.scheduler = Scheduler(limits, weights)
        self._weights = weights
        self._ledger = ledger
        self._observer = observer
        self._device = device
        self._wake = wake
        self._encode = EncodeStage(observer)
        self._denoise = DenoiseStage(observer)
        self._decode = DecodeStage(observer)
        self._deliver = DeliverStage(ledger, observer, screens)
        self._launched: deque[_Launched] = deque()

    def turn(self) -> bool:
        """Do one thing; False if nothing can be done until something changes.

        Raises:
            DeviceLost: every job has to be ended, and the process.
        """
        scheduler = self.scheduler
        self._weights.collect()
        try:
            self._end(scheduler.expired())
            plan = scheduler.next()
        except DeviceLost:
            raise
        except Exception as error:
            # A job that the policy cannot deal with must not take others along.
            logger.exception("the scheduler failed")
            suspect = scheduler.suspect or next(iter(scheduler.jobs), None)
            self._end([] if suspect is None else [(suspect, error)])
            return True
        if plan is not None:
            self._run(plan)
        self._end(
            self._weights.bring(
                scheduler.waiting, scheduler.in_progress, scheduler.admissible, self._wake
            )
        )
        self._settle(everything=plan is None or not scheduler.jobs)
        self._observer.depth(len(scheduler.waiting), len(scheduler.running))
        return plan is not None

    def close(self) -> None:
        """Wait for what is being encoded, and for what is being loaded."""
        self._deliver.close()
        self._weights.close()

    def _run(self, plan: Plan) -> None:
        sets = {state.loras.uses for job in plan.jobs if (state := job.state) and state.loras.uses}
        watch, started = stopwatch(self._device), monotonic()
        finished: list[float] = []
        try:
            model = self._weights.model(plan.jobs[0])
            match plan.stage:
                case Stage.ENCODE:
                    self._run_encode(model, plan)
                case Stage.DENOISE:
                    finished = self._run_denoise(model, plan)
                case Stage.DECODE:
                    self._run_decode(model, plan)
        except PassTooLarge:
            logger.warning("out of memory with %d rows in a pass, halving it", plan.rows)
            self._observer.out_of_memory()
            self.scheduler.overflowed(plan)
            release()
            return
        except DeviceLost:
            raise
        except Exception as error:
            self._end([(job, error) for job in plan.jobs])
            return
        watch.stop()
        self._launched.append(_Launched(plan, watch, started, len(sets), tuple(finished)))

    def _run_encode(self, model: DiffusionModel, plan: Plan) -> None:
        adapters: Mapping[str, Adapter] = self._weights.adapters(plan.jobs)
        self.scheduler.admitted(plan.jobs)
        for job in self._succeeded(plan, self._encode.run(model, adapters, plan.jobs)):
            self.scheduler.advanced(job)

    def _run_denoise(self, model: DiffusionModel, plan: Plan) -> list[float]:
        """Take the step; returns when the jobs that have finished their segment were admitted."""
        finished = []
        for job in self._succeeded(plan, self._denoise.run(model, plan)):
            try:
                if job.due_progress():
                    self._report(model, job)
            except Exception as error:
                self._end([(job, error)])
                continue
            if job.denoising.finished:
                finished.append(job.admitted_at)
            self.scheduler.advanced(job)
        return finished

    def _run_decode(self, model: DiffusionModel, plan: Plan) -> None:
        for job, result in self._decode.run(model, plan.jobs):
            if isinstance(result, BaseException):
                self._end([(job, result)])
                continue
            warnings = job.denoising.warnings
            self.scheduler.remove([job])
            job.state, job.decoded = None, True
            self._deliver.picture(job, result, warnings)

    def _report(self, model: DiffusionModel, job: Job) -> None:
        """Report how far a job is, in all its segments."""
        state = job.denoising
        unfinished = not state.finished or not job.last_segment
        preview = model.preview(state) if job.request.wants_previews and unfinished else None
        step = job.steps_before + state.index
        total = job.steps_before + state.total + job.steps_ahead
        self._deliver.progress(job, step, total, preview)

    def _settle(self, *, everything: bool) -> None:
        """Account for what the device has done; wait for all but what was launched last, or for
        that too."""
        while self._launched:
            launched = self._launched[0]
            if not (everything or len(self._launched) > 1 or launched.stopwatch.done()):
                return
            self._launched.popleft()
            plan, seconds = launched.plan, launched.stopwatch.seconds()
            self.scheduler.took(plan, seconds)
            if plan.stage is Stage.ENCODE:
                self._encode.measured(plan, seconds)
            elif plan.stage is Stage.DENOISE:
                self._denoise.measured(plan, launched.lora_sets, launched.started, seconds)
                for admitted_at in launched.finished:
                    self._observer.phase(Phase.DENOISE, monotonic() - admitted_at)

    def _succeeded(self, plan: Plan, failures: Failures) -> list[Job]:
        """End the jobs that failed; returns the other ones of the plan."""
        self._end(failures)
        failed = {job for job, _ in failures}
        return [job for job in plan.jobs if job not in failed]

    def _end(self, failures: Iterable[tuple[Job, BaseException]]) -> None:
        """End jobs without their pictures, wherever they are."""
        reasons = dict(failures)
        if not reasons:
            return
        for error in reasons.values():
            if is_fatal(error):
                raise DeviceLost(str(error)) from error
        self.scheduler.remove(reasons)
        logged: BaseException | None = None
        for job, error in reasons.items():
            job.state = job.handover = None
            # One traceback for all that one broken pass has failed.
            self._ledger.fail(job, error, traceback=error is not logged)
            logged = error
