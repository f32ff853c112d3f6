"""The engine: batches the denoising steps of different requests, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future

import torch

from contract.errors import ErrorCode, RequestError
from contract.events import Event
from contract.model_state import ModelState
from contract.observer import NullObserver, Observer
from contract.request import GenerationRequest
from contract.tenant_load import TenantLoad
from engine.device import is_fatal
from engine.job import Job
from engine.ledger import Ledger
from engine.limits import BatchLimits
from engine.loop import DeviceLost, EngineLoop
from engine.lora.adapter import Adapter
from engine.pipelines.base import DiffusionModel
from engine.screening.screen import Screen
from engine.submission import Submission
from engine.watchdog import Watchdog
from engine.weights.cache import WeightCache
from engine.weights.control import ModelControl
from engine.weights.loader import WeightLoader

logger = logging.getLogger(__name__)

# Between two looks at jobs that all wait for weights: some may be abandoned meanwhile.
STALLED_SECONDS = 0.1
RETRY_AFTER = 10.0


class Engine:
    """Runs jobs of one or more models on one device.

    A job joins at the next step and leaves as soon as it is done, cancelled or overdue.

    Args:
        models: the models, in memory or not.
        loras: likewise the LoRAs by their tags; None if the models cannot take any.
        limits: bounds of one denoiser pass.
        max_queue: jobs accepted and not yet finished, >= 1.
        max_per_tenant: likewise, of one tenant; None: all.
        max_pixels: width x height of the largest picture, by the name of a model; others have no
            bound.
        observer: receives the measurements.
        screens: what the pictures of a model, by its name, go through before they go out.
        device: where the models are: ``cpu`` or ``cuda``.
        stuck_seconds: after so long in one turn, the device counts as lost; None: never.
        on_device_lost: called when the device is of no more use, after every job has ended. The
            process has to end, as nothing in it can be computed any more.

    Attributes:
        max_pixels: as it was given.
    """

    def __init__(
        self,
        models: WeightCache[DiffusionModel],
        *,
        loras: WeightCache[Adapter] | None = None,
        limits: BatchLimits | None = None,
        max_queue: int = 64,
        max_per_tenant: int | None = None,
        max_pixels: Mapping[str, int] | None = None,
        observer: Observer | None = None,
        screens: Mapping[str, Screen] | None = None,
        device: str = "cpu",
        stuck_seconds: float | None = None,
        on_device_lost: Callable[[], None] | None = None,
    ) -> None:
        observer = observer or NullObserver()
        self._weights = WeightLoader(models, loras)
        self._control = ModelControl(models, self._wake_up)
        self._screens = screens or {}
        self._ledger = Ledger(max_queue, observer, max_per_tenant)
        self.max_pixels: Mapping[str, int] = max_pixels or {}
        self._on_device_lost = on_device_lost
        self._loop = EngineLoop(
            self._weights,
            limits or BatchLimits(),
            self._ledger,
            observer,
            self._screens,
            device,
            self._wake_up,
        )
        self._wake = threading.Condition()
        self._inbox: deque[Job] = deque()
        self._news = False  # something to look at has come since the last turn began
        self._closed = self._aborted = self._lost = False
        self._watchdog = None if stuck_seconds is None else Watchdog(stuck_seconds, self._stuck)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        return not self._closed

    @property
    def work_left(self) -> int:
        """Row-steps x pixels that the jobs in it have left, about. Safe from any thread."""
        return sum(job.work_left for job in self._ledger.open_jobs)

    @property
    def tenants(self) -> dict[str, TenantLoad]:
        """What each tenant has waiting and running, by its name. Safe from any thread."""
        loads: dict[str, TenantLoad] = {}
        for job in self._ledger.open_jobs:
            own = TenantLoad(running=1) if job.admitted_at else TenantLoad(queued=1)
            loads[job.tenant] = loads.get(job.tenant, TenantLoad()) + own
        return loads

    @property
    def states(self) -> dict[str, ModelState]:
        """The state of each model, by its name. Safe from any thread."""
        return self._control.states()

    def load(self, name: str) -> Future[None]:
        """See ``ModelControl.load``."""
        return self._control.load(name)

    def unload(self, name: str) -> None:
        """See ``ModelControl.unload``."""
        self._control.unload(name)

    def submit(self, request: GenerationRequest, emit: Callable[[Event], None]) -> Submission:
        """Accept a request; its events go to ``emit``, ending as ``contract.events`` says.

        Raises:
            RequestError: ``not_found`` for a model or a LoRA that is not served, or is unloaded,
                ``out_of_range`` for pictures that are too large, ``out_of_range`` or
                ``invalid_request`` for LoRAs that do not fit into memory together, or into the
                model, ``invalid_request`` for previews of pictures that screening might hold back,
                ``busy`` when the queue has no room for all its pictures, ``not_ready`` after
                ``close``.
        """
        self._weights.check(request)
        self._check_size(request)
        last = request.segments[-1].model if request.segments else request.model
        screen = self._screens.get(last)
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
                    ErrorCode.NOT_READY, "the service is shutting down", retry_after=RETRY_AFTER
                )
            self._control.check(request)
            self._ledger.admit(submission)
            position = len(self._inbox) + len(self._loop.scheduler.waiting)
            # Before the loop can see the jobs: no event may overtake this one.
            submission.accepted(position)
            self._inbox.extend(submission.jobs)
            self._tell()
        logger.info(
            "accepted, %d waiting in front", position, extra={"request_id": request.request_id}
        )
        return submission

    def _check_size(self, request: GenerationRequest) -> None:
        pixels = request.width * request.height
        for model in {request.model, *(segment.model for segment in request.segments)}:
            most = self.max_pixels.get(model, pixels)
            if pixels > most:
                raise RequestError(
                    ErrorCode.OUT_OF_RANGE,
                    f"width x height must be at most {most} pixels with {model}, which is what it "
                    f"does in SD_MAX_PASS_SECONDS, got {request.width} x {request.height}",
                    field="width",
                )

    def close(self, timeout: float = 0.0) -> None:
        """Refuse new jobs, let the accepted ones finish for ``timeout`` seconds, fail the rest."""
        with self._wake:
            self._closed = True
            self._tell()
        self._thread.join(timeout)
        with self._wake:
            self._aborted = True
            self._tell()
        # Before the thread has come back from the device, which may take its time.
        self._end_all("the service shut down before the picture was done")
        while self._thread.is_alive() and not self._lost:
            self._thread.join(1.0)
        if not self._lost:
            # Otherwise it may be stuck for ever.
            self._loop.close()
        if self._watchdog is not None:
            self._watchdog.close()

    def _run(self) -> None:
        with torch.inference_mode():
            try:
                while self._wait_for_work():
                    self._turn()
            except DeviceLost as error:
                self._lose(str(error))
            except BaseException as error:
                # Without this thread no job would ever end.
                logger.exception("the engine's thread failed")
                self._lose(str(error))
                raise
        self._loop.scheduler.remove(self._loop.scheduler.jobs)

    def _wait_for_work(self) -> bool:
        """Take over new jobs, and block until there is something to do; False when it is time to
        end."""
        scheduler = self._loop.scheduler
        with self._wake:
            while not (self._news or scheduler.jobs or self._closed):
                self._wake.wait()
            scheduler.add(self._inbox)
            self._inbox.clear()
            self._news = False
            return not self._aborted and (bool(scheduler.jobs) or not self._closed)

    def _turn(self) -> None:
        if self._watchdog is not None:
            self._watchdog.begin()
        try:
            busy = self._loop.turn()
            self._control.turn(self._jobs)
        except DeviceLost:
            raise
        except Exception as error:
            if is_fatal(error):
                # Of work that was launched earlier: it may come out of any call.
                raise DeviceLost(str(error)) from error
            logger.exception("a turn of the engine failed")
            # The one that has waited longest is as likely the cause as any.
            suspect = next(iter(self._loop.scheduler.jobs), None)
            if suspect is not None:
                self._loop.scheduler.remove([suspect])
                self._ledger.fail(suspect, error, traceback=False)
            busy = True
        finally:
            if self._watchdog is not None:
                self._watchdog.end()
        if not busy:
            with self._wake:
                if self._loop.scheduler.jobs and not self._news:
                    self._wake.wait(STALLED_SECONDS)

    def _jobs(self) -> list[Job]:
        """All that have not ended, also those that came during this turn."""
        with self._wake:
            return [*self._loop.scheduler.jobs, *self._inbox]

    def _wake_up(self) -> None:
        with self._wake:
            self._tell()

    def _tell(self) -> None:
        """Let the engine's thread have a look; call it with the lock held."""
        self._news = True
        self._wake.notify()

    def _stuck(self, seconds: float) -> None:
        """The engine's thread has not come back from the device; called from another one."""
        self._lose(f"no progress within {seconds:g} seconds")

    def _lose(self, reason: str) -> None:
        """End all jobs, as the device is lost. No new ones come first."""
        with self._wake:
            if self._lost:
                return
            self._closed = self._lost = True
        logger.critical("the device is lost: %s", reason)
        self._end_all("the device was lost before the picture was done; try again")
        if self._on_device_lost is not None:
            self._on_device_lost()

    def _end_all(self, message: str) -> None:
        error = RequestError(ErrorCode.NOT_READY, message, retry_after=RETRY_AFTER)
        for job in self._ledger.open_jobs:
            # What is being encoded as a file needs no device: it is delivered.
            if not job.decoded:
                self._ledger.fail(job, error)
        self._control.close()
