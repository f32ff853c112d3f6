"""The deliver stage: screens and encodes what leaves the engine, in threads of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from io import BytesIO
from time import monotonic

import PIL.Image

from contract.events import Image, Progress
from contract.observer import Observer, Phase
from engine.job import Job
from engine.ledger import Ledger
from engine.screening.screen import Screen
from engine.stages.image_file import encode
from engine.thread_pool import started_pool

logger = logging.getLogger(__name__)

THREADS = 2


class DeliverStage:
    """Screens and encodes pictures, and encodes previews, in a few threads.

    Args:
        ledger: in which the jobs end.
        observer: is told how long it took.
        screens: what the pictures of a model, by its name, go through; of others, nothing.
    """

    def __init__(
        self,
        ledger: Ledger,
        observer: Observer,
        screens: Mapping[str, Screen],
    ) -> None:
        self._ledger = ledger
        self._observer = observer
        self._screens = screens
        self._pool = started_pool(THREADS, "engine-encoder")
        # One thread, so that progress events keep their order.
        self._previews = started_pool(1, "engine-previews")

    def picture(self, job: Job, picture: PIL.Image.Image, warnings: tuple[str, ...]) -> None:
        """Screen and encode a finished picture, and hand it over."""
        self._pool.submit(self._encode, job, picture, warnings)

    def progress(self, job: Job, step: int, total: int, preview: PIL.Image.Image | None) -> None:
        """Report progress; with a preview, if there is one, as soon as that is encoded."""
        if job.request.wants_previews:
            self._previews.submit(self._report, job, step, total, preview)
        else:
            # There is nothing to encode, and each change of threads costs the pass that follows.
            job.report(Progress(step, total, job.index))

    def close(self) -> None:
        """Wait for what is being encoded."""
        self._previews.shutdown()
        self._pool.shutdown()

    def _encode(self, job: Job, picture: PIL.Image.Image, warnings: tuple[str, ...]) -> None:
        request = job.request
        screening: tuple[str, ...] = ()
        try:
            if screen := self._screens.get(job.model):
                picture, screening = screen.apply(picture, request.request_id)
            started = monotonic()
            data = encode(picture, request, screening)
            self._observer.phase(Phase.ENCODE, monotonic() - started)
        except Exception as error:
            self._ledger.fail(job, error)
            return
        image = Image(
            data,
            request.output_format.media_type,
            picture.width,
            picture.height,
            request.seed,
            job.index,
            warnings,
            screening,
            prompt=request.prompt,
        )
        self._ledger.deliver(job, image)

    def _report(self, job: Job, step: int, total: int, preview: PIL.Image.Image | None) -> None:
        data = None
        try:
            if preview is not None:
                file = BytesIO()
                preview.save(file, "PNG")
                data = file.getvalue()
        except Exception:
            logger.exception("a preview could not be encoded")
        job.report(Progress(step, total, job.index, data))
