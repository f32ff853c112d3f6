"""The execution: one attempt at a prediction, from its lease to its end or its release."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import Final

from api import request_id
from api.backend import Backend
from api.error_boundary import request_error
from api.predictions.claims import Leased
from api.predictions.files import Files, FilesFull
from api.predictions.hub import Hub
from api.predictions.keeping import put_picture
from api.predictions.leases import Leases
from api.predictions.notices import Notices
from api.predictions.prediction import Output, Prediction, Status
from api.predictions.store import Store
from contract.errors import ErrorCode, RequestError
from contract.events import Failed, Image, Progress
from contract.request import GenerationRequest

logger = logging.getLogger(__name__)

# What is the engine's matter and passes: another attempt may succeed.
_PASSING: Final = (ErrorCode.BUSY, ErrorCode.NOT_READY)
_BUSY_SECONDS: Final = 0.5
_LOST_SECONDS: Final = 2.0
_FULL_SECONDS: Final = 15.0


class Execution:
    """Runs one leased prediction.

    Args:
        leased: what is to be run.
        backend: generates its pictures.
        store: ends it.
        leases: take it back, where it cannot be ended now.
        files: hold its pictures.
        hub: is told what happens.
        notices: tell its webhook so.
        deadline: seconds that any attempt may take.

    Attributes:
        pictures: how many it makes.
        step: how many steps of ``total`` are done, of all pictures.
        ended: the prediction, once it is over by this execution.
        ending: whether it is being ended: there is nothing left to stop.
    """

    def __init__(
        self,
        leased: Leased,
        backend: Backend,
        store: Store,
        leases: Leases,
        files: Files,
        hub: Hub,
        notices: Notices,
        deadline: float,
    ) -> None:
        self.leased = leased
        self.pictures = leased.request(b"").num_images
        self.step = self.total = 0
        self.ended: Prediction | None = None
        self.ending = False
        self._backend = backend
        self._store = store
        self._leases = leases
        self._files = files
        self._feed = hub.feed(leased.prediction.id)
        self._hub = hub
        self._notices = notices
        self._deadline = deadline
        self._outputs: list[Output] = []
        self._begun = False
        self._settled = False
        self._steps: dict[int, int] = {}

    async def run(self) -> None:
        """Generate the pictures. Ends the prediction, or gives it back; cancelling it gives it
        back as well, unless it is no longer ours."""
        prediction = self.leased.prediction
        request_id.current.set(prediction.id)
        self._feed.add("start", {})
        self._notices.started(prediction)
        try:
            try:
                await self._generate(await self._request())
            except FilesFull:
                logger.error("no room for the pictures of prediction %s: it waits", prediction.id)
                await self._leases.release(self.leased, _FULL_SECONDS, counts=False)
            except RequestError as error:
                await self._failed(error)
            except OSError as error:
                logger.error("the files of prediction %s: %s", prediction.id, error)
                await self._leases.release(self.leased, _FULL_SECONDS, counts=False)
            else:
                await self._end(
                    status=Status.SUCCEEDED,
                    outputs=[asdict(one) for one in self._outputs],
                    output_bytes=sum(one.bytes for one in self._outputs),
                )
        except asyncio.CancelledError:
            # A shutdown, a cancellation or a lost lease: without effect in the last two cases.
            await asyncio.shield(self._leases.release(self.leased, 0, counts=False))
            raise
        finally:
            self._notices.over(prediction.number)
            # One that was stopped while it ended may have been written down.
            if (self._settled or not self.ending) and not self._succeeded:
                await asyncio.shield(self._discard())

    @property
    def _succeeded(self) -> bool:
        return self.ended is not None and self.ended.status is Status.SUCCEEDED

    async def _request(self) -> GenerationRequest:
        prediction = self.leased.prediction
        pictures = b""
        if prediction.input_bytes:
            pictures = await self._files.get(input_key(prediction.folder))
        request = self.leased.request(pictures)
        left = self.leased.left
        deadline = self._deadline if left is None else min(self._deadline, left)
        if deadline <= 0:
            raise RequestError(
                ErrorCode.DEADLINE_EXCEEDED, "it could not be done within its deadline"
            )
        return replace(request, deadline=deadline, wants_progress=True)

    async def _generate(self, request: GenerationRequest) -> None:
        async with aclosing(self._backend.generate(request)) as events:
            async for event in events:
                match event:
                    case Failed():
                        raise event.to_error()
                    case Image():
                        await self._keep(event)
                        if event.last:
                            self._outputs.sort(key=lambda one: one.index)
                            return
                    case Progress():
                        self._progress(event, request.num_images)
                self._begun = True
        raise RequestError(ErrorCode.NOT_READY, "the worker was lost before the last picture")

    def _progress(self, event: Progress, pictures: int) -> None:
        self._steps[event.index] = event.step
        self.step, self.total = sum(self._steps.values()), event.total * pictures
        data = {"index": event.index, "step": event.step, "total": event.total}
        self._feed.add(
            "progress", data if event.preview is None else data | {"preview": event.preview}
        )
        self._notices.progressed(self.leased.prediction, self.step, self.total)

    async def _keep(self, image: Image) -> None:
        prediction = self.leased.prediction
        # One who has lost the lease, and does not know it yet, writes other files.
        self._outputs.append(
            await put_picture(self._files, prediction.folder, self.leased.lease, image)
        )
        self._feed.add("output", {"index": image.index, "seed": image.seed})
        self._notices.put_out(prediction, self.step, self.total)

    async def _failed(self, error: RequestError) -> None:
        shown = request_error(error)
        lost = shown.code is ErrorCode.NOT_READY and self._begun
        if shown.code in _PASSING and not (lost and self._leases.exhausted(self.leased)):
            seconds = _LOST_SECONDS if shown.code is ErrorCode.NOT_READY else _BUSY_SECONDS
            await self._leases.release(self.leased, seconds, counts=lost)
            return
        internal = shown.code is ErrorCode.INTERNAL
        await self._end(
            status=Status.FAILED,
            error_code=shown.code,
            error="internal error" if internal else shown.message,
        )

    async def _end(self, status: Status, **values: object) -> None:
        prediction = self.leased.prediction
        if status is Status.SUCCEEDED:
            # Of the last steps there need not be an event.
            self.step = self.total
        values |= {"status": status, "step": self.step, "total": self.total}
        self.ending = True
        # Whoever has the database is to hear of it: the pictures are there.
        while True:
            try:
                self.ended = await self._store.end(prediction.number, values, self.leased.lease)
                break
            except RequestError as error:
                logger.warning("prediction %s cannot be ended now: %s", prediction.id, error)
                await asyncio.sleep(_LOST_SECONDS)
        if self.ended is None:
            self.ended = await self._already_ended(status)
        self._settled = True
        if self.ended is not None:
            self._hub.ended(self.ended)

    async def _already_ended(self, status: Status) -> Prediction | None:
        """The prediction, where it was ended by an attempt of ours that seemed to fail."""
        found = await self._store.find(self.leased.prediction.id)
        ours = found is not None and (found.status, found.lease) == (status, self.leased.lease)
        return found if ours else None

    async def _discard(self) -> None:
        try:
            await self._files.delete([one.key for one in self._outputs])
        except OSError as error:
            # The retention finds them.
            logger.warning("files of prediction %s: %s", self.leased.prediction.id, error)


def input_key(folder: str) -> str:
    """The key of the pictures that a prediction was given."""
    return f"{folder}/input"
