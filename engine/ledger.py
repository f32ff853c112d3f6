"""The ledger: which jobs there are, and how each of them ends."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from time import monotonic

from contract.errors import ErrorCode, RequestError
from contract.events import Failed, Image
from contract.observer import Observer, RowOutcome
from engine.job import Job
from engine.submission import Submission
from engine.throughput import Throughput

logger = logging.getLogger(__name__)


class Ledger:
    """Admits jobs as long as there is room, and ends each of them once. Safe from any thread.

    Args:
        max_queue: jobs accepted and not yet ended, >= 1.
        observer: is told of every end.
        max_per_tenant: likewise, of one tenant; the tenant without a name may have all.
    """

    def __init__(
        self, max_queue: int, observer: Observer, max_per_tenant: int | None = None
    ) -> None:
        self._max_queue = max_queue
        self._max_per_tenant = max_queue if max_per_tenant is None else max_per_tenant
        self._observer = observer
        self._lock = threading.Lock()
        self._open: set[Job] = set()
        self._of_tenants = Counter[str]()
        self._throughput = Throughput()

    @property
    def open_jobs(self) -> list[Job]:
        """The jobs that have not ended."""
        with self._lock:
            return list(self._open)

    def admit(self, submission: Submission) -> None:
        """Take up the jobs of a request. Raises ``RequestError`` if there is no room for all."""
        count = len(submission.jobs)
        tenant = submission.jobs[0].tenant
        places = submission.jobs[0].request.tenant_places
        most = self._max_per_tenant if places is None else min(places, self._max_per_tenant)
        with self._lock:
            unfinished, own = len(self._open), self._of_tenants[tenant]
            if unfinished + count > self._max_queue:
                raise self._busy(
                    f"{unfinished} pictures are waiting or being made, the limit is "
                    f"{self._max_queue} (SD_MAX_QUEUE)"
                )
            if tenant and own + count > most:
                whose = "its key" if most == places else "one client"
                setting = "max_queued" if most == places else "SD_MAX_QUEUE_PER_CLIENT"
                raise self._busy(
                    f"{own} pictures of this client are waiting or being made, the limit for "
                    f"{whose} is {most} ({setting})"
                )
            if not self._open:
                self._throughput.began()
            self._open.update(submission.jobs)
            self._of_tenants[tenant] += count

    def deliver(self, job: Job, image: Image) -> None:
        """End a job with its picture; one that is abandoned by now, without."""
        if reason := job.cancel_reason:
            self.fail(job, reason)
        elif self._close(job):
            seconds = monotonic() - job.submitted_at
            logger.info("done in %.2f s", seconds, extra={"request_id": job.request.request_id})
            self._finish(job, "ok", image)

    def fail(self, job: Job, error: BaseException, *, traceback: bool = True) -> None:
        """End a job without a picture. Details of internal errors are logged only."""
        if not self._close(job):
            return
        extra = {"request_id": job.request.request_id}
        if isinstance(error, RequestError):
            logger.info("ended: %s", error.message, extra=extra)
        else:
            logger.error("failed", exc_info=error if traceback else None, extra=extra)
            error = RequestError(ErrorCode.INTERNAL, "the picture could not be made")
        self._finish(job, error.code.value, Failed.from_error(error))

    def _busy(self, message: str) -> RequestError:
        left = sum(job.work_left for job in self._open)
        wait = self._throughput.wait(left, len(self._open))
        return RequestError(ErrorCode.BUSY, message, retry_after=wait)

    def _close(self, job: Job) -> bool:
        """Strike a job off; False if it has ended already."""
        with self._lock:
            if job not in self._open:
                return False
            self._open.remove(job)
            self._of_tenants[job.tenant] -= 1
            if not self._of_tenants[job.tenant]:
                del self._of_tenants[job.tenant]
            self._throughput.did(job.work_done)
            return True

    def _finish(self, job: Job, outcome: str, event: Image | Failed) -> None:
        try:
            wasted = job.wasted_row_steps
            self._observer.spent(RowOutcome.WASTED, wasted)
            of_rest = RowOutcome.USEFUL if outcome == "ok" else RowOutcome.ABANDONED
            self._observer.spent(of_rest, job.row_steps - wasted)
            self._observer.finished(outcome)
        except Exception:
            logger.exception("the end of a job could not be measured")
        job.report(event)
