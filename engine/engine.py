"""The loop that batches the denoising steps of different requests."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import PIL.Image
import torch

from engine.batch import BatchLimits, pick
from engine.encoding import encode
from engine.errors import ErrorCode, RequestError
from engine.events import Event, Failed, Image, Progress, Queued
from engine.families.base import Family
from engine.job import Job
from engine.observer import Observer, Phase, Silent
from engine.request import GenerationRequest

logger = logging.getLogger(__name__)

ENCODING_THREADS = 2
MAX_RETRY_AFTER = 120.0  # seconds


class Engine:
    """Runs jobs of one or more models on one device, from one thread.

    Each turn of the loop admits waiting jobs, takes one denoiser step for as many jobs as can
    share a pass, and decodes those that finished. A job joins at the next turn and leaves as
    soon as it is done, cancelled or overdue.

    Args:
        families: the loaded models by catalog name.
        limits: bounds of one denoiser pass.
        max_queue: jobs accepted and not yet finished, >= 1.
        observer: receives the measurements.
    """

    def __init__(
        self,
        families: Mapping[str, Family],
        *,
        limits: BatchLimits | None = None,
        max_queue: int = 64,
        observer: Observer | None = None,
    ) -> None:
        self._families = dict(families)
        self._limits = limits or BatchLimits()
        self._max_queue = max_queue
        self._observer: Observer = observer or Silent()
        self._wake = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._unfinished = 0
        self._closed = False
        self._aborted = False
        self._seconds_per_job = 1.0
        self._finished_at = 0.0
        self._encoders = ThreadPoolExecutor(ENCODING_THREADS, "engine-encoder")
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: GenerationRequest, emit: Callable[[Event], None]) -> Job:
        """Accept a request; its events go to ``emit``, the last one an ``Image`` or ``Failed``.

        Raises:
            RequestError: ``not_found`` for a model that is not loaded, ``busy`` when the queue
                is full, ``not_ready`` after ``close``.
        """
        if request.model not in self._families:
            raise RequestError(
                ErrorCode.NOT_FOUND, f"model: {request.model!r} is not loaded", field="model"
            )
        job = Job(request, emit)
        with self._wake:
            if self._closed:
                raise RequestError(
                    ErrorCode.NOT_READY, "the service is shutting down", retry_after=10
                )
            if self._unfinished >= self._max_queue:
                wait = min(max(self._seconds_per_job * self._unfinished, 1.0), MAX_RETRY_AFTER)
                raise RequestError(
                    ErrorCode.BUSY,
                    f"{self._unfinished} requests are waiting or running, the limit is "
                    f"{self._max_queue}",
                    retry_after=round(wait, 1),
                )
            self._unfinished += 1
            position = len(self._waiting)
            # Before the loop can see the job: no event may overtake this one.
            emit(Queued(position))
            self._waiting.append(job)
            self._wake.notify()
        logger.info(
            "accepted, %d waiting in front", position, extra={"request_id": request.request_id}
        )
        return job

    def close(self, timeout: float = 0.0) -> None:
        """Refuse new jobs, let the accepted ones finish for ``timeout`` seconds, fail the rest."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(timeout)
        with self._wake:
            self._aborted = True
            self._wake.notify()
        self._thread.join()
        self._encoders.shutdown()

    def _loop(self) -> None:
        with torch.inference_mode():
            while self._wait_for_work():
                try:
                    self._turn()
                except Exception as error:
                    logger.exception("a turn of the engine failed")
                    self._evict(list(self._running), error)
        abandoned = RequestError(
            ErrorCode.NOT_READY, "the service shut down before the picture was done", retry_after=10
        )
        for job in [*self._running, *self._waiting]:
            self._fail(job, abandoned)

    def _turn(self) -> None:
        self._drop_lost()
        self._admit()
        self._step(pick(self._running, self._limits))
        self._retire()
        self._observer.depth(len(self._waiting), len(self._running))

    def _wait_for_work(self) -> bool:
        """Block until there is a job; False when it is time to end."""
        with self._wake:
            while not (self._waiting or self._running or self._closed):
                self._wake.wait()
            return not self._aborted and bool(self._waiting or self._running)

    def _admit(self) -> None:
        """Prepare waiting jobs, oldest first, while a pass has room for them."""
        rows = sum(job.denoising.rows for job in self._running)
        while self._waiting and rows < self._limits.rows:
            job = self._waiting.popleft()
            job.admitted_at = monotonic()
            self._observer.phase(Phase.QUEUE, job.admitted_at - job.submitted_at)
            try:
                job.state = self._families[job.request.model].prepare(job.request)
            except Exception as error:
                self._fail(job, error)
                continue
            job.served_at = monotonic()
            self._observer.phase(Phase.PREPARE, job.served_at - job.admitted_at)
            self._running.append(job)
            rows += job.denoising.rows

    def _drop_lost(self) -> None:
        with self._wake:
            lost = {job for job in [*self._running, *self._waiting] if job.cancelled or job.overdue}
            self._running = [job for job in self._running if job not in lost]
            self._waiting = deque(job for job in self._waiting if job not in lost)
        for job in lost:
            self._fail(job, _loss(job))

    def _step(self, batch: list[Job]) -> None:
        """Take one denoiser step for every job of the batch."""
        if not batch:
            return
        family = self._families[batch[0].request.model]
        started = monotonic()
        try:
            predictions = family.forward([job.denoising for job in batch])
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                self._evict(batch, error)
                return
            logger.warning("out of memory with %d jobs in a pass, halving it", len(batch))
            half = len(batch) // 2
            self._step(batch[:half])
            self._step(batch[half:])
            return
        except Exception as error:
            self._evict(batch, error)
            return
        for job, prediction in zip(batch, predictions, strict=True):
            try:
                job.denoising.advance(prediction)
            except Exception as error:
                self._evict([job], error)
                continue
            job.served_at = started
            if job.due_progress():
                job.emit(Progress(job.denoising.index, job.denoising.total))
        rows = sum(job.denoising.rows for job in batch)
        self._observer.denoised(len(batch), rows, monotonic() - started)

    def _evict(self, jobs: Iterable[Job], error: BaseException) -> None:
        """Fail running jobs."""
        for job in jobs:
            self._running.remove(job)
            self._fail(job, error)

    def _retire(self) -> None:
        """Decode the jobs that took their last step, those of one shape together."""
        done = [job for job in self._running if job.denoising.finished]
        self._running = [job for job in self._running if not job.denoising.finished]
        while batch := pick(done, self._limits):
            done = [job for job in done if job not in batch]
            self._decode(batch)

    def _decode(self, batch: list[Job]) -> None:
        started = monotonic()
        sound: list[Job] = []
        for job in batch:
            self._observer.phase(Phase.DENOISE, started - job.admitted_at)
            if bool(torch.isfinite(job.denoising.latents).all()):
                sound.append(job)
            else:
                self._fail(job, ArithmeticError("the latents are not finite"))
        if not sound:
            return
        try:
            pictures = self._families[sound[0].request.model].decode(
                [job.denoising for job in sound]
            )
        except torch.OutOfMemoryError as error:
            if len(sound) == 1:
                self._fail(sound[0], error)
                return
            logger.warning("out of memory decoding %d pictures, halving", len(sound))
            half = len(sound) // 2
            self._decode(sound[:half])
            self._decode(sound[half:])
            return
        except Exception as error:
            for job in sound:
                self._fail(job, error)
            return
        seconds = monotonic() - started
        for job, picture in zip(sound, pictures, strict=True):
            job.state = None
            self._observer.phase(Phase.DECODE, seconds)
            self._encoders.submit(self._deliver, job, picture)

    def _deliver(self, job: Job, picture: PIL.Image.Image) -> None:
        """Encode a picture and hand it over; runs in the encoders' threads."""
        if job.cancelled or job.overdue:
            self._fail(job, _loss(job))
            return
        started = monotonic()
        request = job.request
        try:
            data = encode(picture, request)
        except Exception as error:
            self._fail(job, error)
            return
        self._observer.phase(Phase.ENCODE, monotonic() - started)
        logger.info(
            "done in %.2f s",
            monotonic() - job.submitted_at,
            extra={"request_id": request.request_id},
        )
        event = Image(
            data, request.output_format.media_type, picture.width, picture.height, request.seed
        )
        self._finish(job, "ok", event)

    def _fail(self, job: Job, error: BaseException) -> None:
        """End a job without a picture; what is not the client's business is only logged."""
        extra = {"request_id": job.request.request_id}
        if isinstance(error, RequestError):
            logger.info("ended: %s", error.message, extra=extra)
        else:
            logger.error("failed", exc_info=error, extra=extra)
            error = RequestError(ErrorCode.INTERNAL, "the picture could not be made")
        self._finish(job, error.code.value, Failed.from_error(error))

    def _finish(self, job: Job, outcome: str, event: Event) -> None:
        with self._wake:
            self._unfinished -= 1
            now = monotonic()
            if outcome == "ok":
                # Pictures come at this interval when the engine is busy; a job that had the
                # engine to itself since the last one says what it took itself.
                interval = now - max(self._finished_at, job.submitted_at)
                self._seconds_per_job += 0.2 * (interval - self._seconds_per_job)
                self._finished_at = now
        self._observer.finished(outcome)
        job.emit(event)


def _loss(job: Job) -> RequestError:
    """Why nobody waits for this job any more."""
    if job.cancelled:
        return RequestError(ErrorCode.CANCELLED, "the request was cancelled")
    return RequestError(
        ErrorCode.DEADLINE_EXCEEDED,
        f"the picture was not done within {job.request.deadline:g} seconds",
    )
