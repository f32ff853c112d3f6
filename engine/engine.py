"""The loop that batches the denoising steps of different requests."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from time import monotonic

import torch

from contract.errors import ErrorCode, RequestError
from contract.events import Event, Failed, Image
from contract.observer import Observer, Phase, RowOutcome, Silent
from contract.request import GenerationRequest
from engine.cost import CostEstimate
from engine.cpu.threads import ThreadPlan, ThreadTuner
from engine.job import Job
from engine.limits import BatchLimits, FairQueue, kind
from engine.lora.adapter import Adapter
from engine.pipelines.base import DiffusionModel
from engine.screening.screen import Screen
from engine.stages.decode import DecodeStage
from engine.stages.deliver import DeliverStage
from engine.stages.denoise import DenoiseStage
from engine.stages.encode import EncodeStage
from engine.submission import Submission
from engine.throughput import Throughput
from engine.weights.cache import WeightCache
from engine.weights.loader import WeightLoader

logger = logging.getLogger(__name__)

STALLED_SECONDS = 0.1


class Engine:
    """Runs jobs of one or more models on one device, from one thread.

    Each turn of the loop prepares waiting jobs or decodes finished ones, whichever is due, and
    then takes one denoiser step for as many jobs as can share a pass. A job joins at the next
    turn and leaves as soon as it is done, cancelled or overdue.

    Args:
        models: the models, in memory or not.
        loras: likewise the LoRAs by their tags; None if the models cannot take any.
        limits: bounds of one denoiser pass.
        max_queue: jobs accepted and not yet finished, >= 1.
        threads: how many CPU threads do the work; default: whatever torch is set to.
        observer: receives the measurements.
        screens: what the pictures of a model, by its name, go through before they go out.
    """

    def __init__(
        self,
        models: WeightCache[DiffusionModel],
        *,
        loras: WeightCache[Adapter] | None = None,
        limits: BatchLimits | None = None,
        max_queue: int = 64,
        threads: ThreadTuner | None = None,
        observer: Observer | None = None,
        screens: Mapping[str, Screen] | None = None,
    ) -> None:
        limits = limits or BatchLimits()
        threads = threads or ThreadTuner([ThreadPlan(torch.get_num_threads())])
        self._observer: Observer = observer or Silent()
        self._weights = WeightLoader(models, loras)
        self._max_queue = max_queue
        self._admission = EncodeStage(threads, self._observer, batch_invariant=limits.invariant)
        self._denoiser = DenoiseStage(limits, threads, self._observer)
        self._decoder = DecodeStage(threads, self._observer, batch_invariant=limits.invariant)
        self._screens = screens or {}
        self._delivery = DeliverStage(self._observer, self._deliver, self._screens)
        self._step_cost = CostEstimate()  # a unit is a pass
        self._decoding_is_due = False
        self._stalled = False
        self._queue_order = FairQueue()

        self._wake = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._denoised: list[Job] = []
        self._unfinished = 0
        self._news = False  # something to look at has come since the last turn began
        self._closed = False
        self._aborted = False
        self._throughput = Throughput()
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: GenerationRequest, emit: Callable[[Event], None]) -> Submission:
        """Accept a request; its events go to ``emit``, ending as ``contract.events`` says.

        Raises:
            RequestError: ``not_found`` for a model or a LoRA that is not served,
                ``out_of_range`` or ``invalid_request`` for LoRAs that do not fit into memory
                together, or into the model, ``invalid_request`` for previews of pictures that
                screening might hold back, ``busy`` when the queue has no room for all its
                pictures, ``not_ready`` after ``close``.
        """
        self._weights.check(request)
        screen = self._screens.get(request.model)
        if request.wants_previews and screen is not None and screen.withholds:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                f"previews must be false for {request.model}: its pictures are screened before "
                "they are shown",
                field="previews",
            )
        submission = Submission(request, emit)
        with self._wake:
            if self._closed:
                raise RequestError(
                    ErrorCode.NOT_READY, "the service is shutting down", retry_after=10
                )
            if self._unfinished + request.num_images > self._max_queue:
                raise RequestError(
                    ErrorCode.BUSY,
                    f"{self._unfinished} pictures are waiting or being made, the limit is "
                    f"{self._max_queue}",
                    retry_after=self._throughput.wait(self._unfinished),
                )
            self._unfinished += request.num_images
            position = len(self._waiting)
            # Before the loop can see the jobs: no event may overtake this one.
            submission.accepted(position)
            self._waiting.extend(submission.jobs)
            self._tell()
        logger.info(
            "accepted, %d waiting in front", position, extra={"request_id": request.request_id}
        )
        return submission

    def close(self, timeout: float = 0.0) -> None:
        """Refuse new jobs, let the accepted ones finish for ``timeout`` seconds, fail the rest."""
        with self._wake:
            self._closed = True
            self._tell()
        self._thread.join(timeout)
        with self._wake:
            self._aborted = True
            self._tell()
        self._thread.join()
        self._delivery.close()
        self._denoiser.close()
        self._weights.close()

    def _loop(self) -> None:
        with torch.inference_mode():
            while self._wait_for_work():
                try:
                    self._turn()
                except Exception as error:
                    logger.exception("a turn of the engine failed")
                    self._evict((job, error) for job in self._in_progress())
                    self._stalled = True  # what fails for those who wait, fails again at once
        abandoned = RequestError(
            ErrorCode.NOT_READY, "the service shut down before the picture was done", retry_after=10
        )
        for job in [*self._in_progress(), *self._waiting]:
            self._fail(job, abandoned)

    def _wait_for_work(self) -> bool:
        """Block until there is a job; False when it is time to end."""
        with self._wake:
            if self._stalled and not self._news:
                # Everybody waits for a model; some may give up meanwhile.
                self._wake.wait(STALLED_SECONDS)
            while not (self._waiting or self._in_progress() or self._closed):
                self._wake.wait()
            self._news = False
            return not self._aborted and bool(self._waiting or self._in_progress())

    def _queue(self) -> list[Job]:
        with self._wake:
            return list(self._waiting)

    def _in_progress(self) -> list[Job]:
        return [*self._running, *self._denoised]

    def _turn(self) -> None:
        self._drop_lost()
        self._weights.collect()
        chosen = self._choose()
        # One of the two a turn, and none meant to take longer than a step: that is all that a
        # running job ever waits for another one.
        if self._denoised and (self._decoding_is_due or not chosen):
            self._decode()
            self._decoding_is_due = False
        elif chosen:
            self._admit(chosen)
            self._decoding_is_due = True
        self._step()
        self._bring_supplies(chosen)
        self._stalled = bool(self._waiting) and not self._in_progress() and not chosen
        self._observer.depth(len(self._waiting), len(self._running))

    def _drop_lost(self) -> None:
        jobs = [*self._in_progress(), *self._queue()]
        self._evict((job, job.loss) for job in jobs if job.lost)

    def _bring_supplies(self, chosen: list[Job]) -> None:
        """See to it that whoever waits longest for a model or a LoRA gets it."""
        self._evict(self._weights.bring(self._queue(), self._in_progress(), chosen, self._wake_up))

    def _wake_up(self) -> None:
        with self._wake:
            self._tell()

    def _tell(self) -> None:
        """Let the engine's thread have a look; call it with the lock held."""
        self._news = True
        self._wake.notify()

    def _choose(self) -> list[Job]:
        """Which waiting jobs to admit now."""
        ready = [job for job in self._queue() if self._weights.ready(job)]
        limits, seconds = self._denoiser.limits, self._time_for_others()
        return self._admission.choose(ready, self._running, limits, seconds)

    def _time_for_others(self) -> float | None:
        """Seconds that running jobs may have to wait for other work; None if there are none."""
        return self._step_cost.seconds_per_unit if self._running else None

    def _admit(self, chosen: list[Job]) -> None:
        with self._wake:
            self._waiting = deque(job for job in self._waiting if job not in chosen)
        self._running += chosen
        family, adapters = self._weights.family(chosen[0]), self._weights.adapters(chosen)
        self._evict(self._admission.prepare(family, adapters, chosen))

    def _step(self) -> None:
        """Take one denoiser step for the jobs whose turn it is."""
        batch = self._queue_order.pick(self._running, self._denoiser.limits)
        if not batch:
            return
        started = monotonic()
        lead = kind(batch[0])
        family = self._weights.family(batch[0])
        failed = self._denoiser.step(family, batch)
        self._queue_order.took(lead, monotonic() - started)
        self._evict(failed)
        for job in batch:
            if job.state is not None and job.due_progress():
                try:
                    self._report(family, job)
                except Exception as error:
                    self._evict([(job, error)])
        self._running = [job for job in self._running if not job.denoising.finished]
        for job in batch:
            if job.state is not None and job.denoising.finished:
                self._denoised.append(job)
                self._observer.phase(Phase.DENOISE, monotonic() - job.admitted_at)
        self._step_cost.record(1, monotonic() - started)

    def _report(self, family: DiffusionModel, job: Job) -> None:
        """Say how far a job is."""
        state = job.denoising
        wanted = job.request.wants_previews and not state.finished
        preview = family.preview(state) if wanted else None
        self._delivery.progress(job, state.index, state.total, preview)

    def _decode(self) -> None:
        """Decode the finished jobs of one shape, as many as a step's time allows."""
        batch = self._decoder.choose(self._denoised, self._denoiser.limits, self._time_for_others())
        family = self._weights.family(batch[0])
        results = self._decoder.decode(family, batch)
        for job, result in results:
            if isinstance(result, BaseException):
                self._evict([(job, result)])
                continue
            self._delivery.picture(job, result, job.denoising.warnings)
            self._denoised.remove(job)
            job.state = None

    def _evict(self, failed: Iterable[tuple[Job, BaseException]]) -> None:
        """Fail jobs, wherever they are."""
        reasons = dict(failed)
        if not reasons:
            return  # as in most turns, several times each
        with self._wake:
            self._waiting = deque(job for job in self._waiting if job not in reasons)
        self._running = [job for job in self._running if job not in reasons]
        self._denoised = [job for job in self._denoised if job not in reasons]
        logged: BaseException | None = None
        for job, error in reasons.items():
            job.state = None
            # One traceback for all that one broken pass has failed.
            self._fail(job, error, traceback=error is not logged)
            logged = error

    def _deliver(self, job: Job, result: Image | BaseException) -> None:
        """Hand a picture over; runs in the threads of the delivery."""
        if job.lost:
            self._fail(job, job.loss)
        elif isinstance(result, BaseException):
            self._fail(job, result)
        else:
            seconds = monotonic() - job.submitted_at
            logger.info("done in %.2f s", seconds, extra={"request_id": job.request.request_id})
            self._finish(job, "ok", result)

    def _fail(self, job: Job, error: BaseException, *, traceback: bool = True) -> None:
        """End a job without a picture; what is not the client's business is only logged."""
        extra = {"request_id": job.request.request_id}
        if isinstance(error, RequestError):
            logger.info("ended: %s", error.message, extra=extra)
        else:
            logger.error("failed", exc_info=error if traceback else None, extra=extra)
            error = RequestError(ErrorCode.INTERNAL, "the picture could not be made")
        self._finish(job, error.code.value, Failed.from_error(error))

    def _finish(self, job: Job, outcome: str, event: Image | Failed) -> None:
        with self._wake:
            self._unfinished -= 1
            if outcome == "ok":
                self._throughput.done(job.submitted_at)
        try:
            wasted = job.wasted_row_steps
            self._observer.spent(RowOutcome.WASTED, wasted)
            fate = RowOutcome.USEFUL if outcome == "ok" else RowOutcome.ABANDONED
            self._observer.spent(fate, job.row_steps - wasted)
            self._observer.finished(outcome)
        except Exception:
            logger.exception("the end of a job could not be measured")
        job.report(event)
