"""Predictions: accepted, found, waited for, cancelled and deleted, for any protocol."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

from api.backend import Backend
from api.errors import shown
from api.predictions import refusals
from api.predictions.announcements import Announcements
from api.predictions.claims import Leased
from api.predictions.database import Database
from api.predictions.deliveries import Deliveries
from api.predictions.document import document
from api.predictions.execution import Execution, input_key
from api.predictions.files import Files, FilesFull
from api.predictions.guard import Guard
from api.predictions.hub import Hub
from api.predictions.intake import Intake
from api.predictions.keeping import Keeping
from api.predictions.leases import Leases
from api.predictions.links import Links
from api.predictions.measures import Measures
from api.predictions.notices import Notices
from api.predictions.outbox import Delivery, Outbox
from api.predictions.prediction import Order, Output, Prediction, Status, pictures_of
from api.predictions.retention import Retention
from api.predictions.room import Room
from api.predictions.store import Filter, Store
from api.predictions.webhooks import Webhooks
from api.predictions.worker import Worker
from contract.errors import ErrorCode, RequestError
from settings import Settings

logger = logging.getLogger(__name__)

# Until a waiting request looks whether another process has ended its prediction.
_LOOK_SECONDS: Final = 1.0


class Predictions:
    """Everything that belongs to predictions in one process. ``open`` comes first.

    Args:
        backend: generates the pictures.
        settings: the limits.
        database: is connected to by ``open``.
        files: hold the pictures.
        measures: are told what happens.
        url: of a database that announces changes of other hosts; None where there is none.

    Attributes:
        outbox: the deliveries of webhooks; ``webhooks`` sign them.
        hub: what happens in this process.
        keeping: keeps pictures that are there already.
        database: has all of it.
        closing: whether requests that wait for something are to end.
    """

    links: Links
    webhooks: Webhooks

    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        database: Database,
        files: Files,
        measures: Measures,
        url: str | None = None,
    ) -> None:
        self.hub = Hub(lambda: self._deliveries.wake())
        self.guard = Guard(settings.webhook_receivers)
        self.outbox = Outbox(database, settings.webhook_retry_seconds)
        self.closing = False
        self._backend = backend
        self._settings = settings
        self.database = database
        self._files = files
        self._measures = measures
        self._url = url
        self._store = Store(database)
        self._leases = Leases(database, settings.prediction_lease, settings.prediction_attempts)
        self._room = Room(self._store, files, settings, measures)
        self.keeping = Keeping(self._store, files, self._room)
        self._retention = Retention(database, self._store, files, settings)
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Connect, and take up what was left. Raises what ``Database.open`` raises."""
        await self.database.open()
        self.links = Links(await self._store.secret("links"), self._settings.link_seconds)
        self.webhooks = Webhooks(await self._store.secret("webhooks"), self.guard)
        self._notices = Notices(self.webhooks, self._rendered)
        self._deliveries = Deliveries(self.outbox, self.webhooks, self._rendered, self._measures)
        self._worker = Worker(
            self._backend,
            self._leases,
            self.hub,
            self._measures,
            self._execution,
            self._settings.prediction_slots,
            self._settings.prediction_lease,
        )
        self._intake = Intake(self.database, self._worker.claim)
        self._worker.start()
        loops = [self._deliveries.run(), self._retention.run(), self._room.run()]
        if self._url is not None:
            loops.append(Announcements(self._url, self._heard).run())
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    async def resend(self, tenant: str, identifier: str) -> Delivery:
        """Send a webhook once more. Raises ``RequestError``: NOT_FOUND."""
        delivery = await self.outbox.resend(tenant, identifier)
        if delivery is None:
            raise refusals.no_delivery(identifier)
        self._deliveries.wake()
        return delivery

    def stop_waiting(self) -> None:
        """Have requests that wait for something end, as the service shuts down."""
        self.closing = True
        self.hub.touch_all()

    async def finish(self, seconds: float) -> None:
        """Begin nothing more; what runs has so many seconds, and is given back then."""
        await self._worker.close(seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._notices.close()

    async def close(self) -> None:
        """Disconnect, once nobody asks for anything any more, or it could not be opened."""
        await self.database.close()

    async def accept(
        self, order: Order, charge: Callable[[], None] = lambda: None
    ) -> tuple[Prediction, bool]:
        """Write a prediction down: it will be run, whatever dies in between.

        Args:
            order: what is to be run.
            charge: called before one is written down that may be new. It may raise
                ``RequestError``, which refuses only those that are.

        Returns:
            The prediction, and whether it is new: the same order again gives the same one.

        Raises:
            RequestError: CONFLICT where its id or idempotency key is that of another order,
                NOT_FOUND where the id is another tenant's, BUSY, STORAGE_FULL, NOT_READY.
        """
        size = len(pictures_of(order.request))
        try:
            await self._room.check(order.tenant, size)
            charge()
        except RequestError:
            known = await self._store.known(order)
            if known is None:
                raise
            return refusals.the_same(known, order), False
        folder = uuid.uuid4().hex
        if size:
            await self._put_input(folder, pictures_of(order.request))
        # If this fails, the file is of no one: the retention finds it.
        prediction, is_new = await self._intake.accept(order, folder)
        if not is_new:
            if size:
                await self._files.delete([input_key(folder)])
            return refusals.the_same(prediction, order), False
        self._room.taken(order.tenant, size)
        self._measures.accepted()
        return prediction, True

    async def find(self, identifier: str, tenant: str | None) -> Prediction:
        """A prediction of a tenant, None for any. Raises ``RequestError``: NOT_FOUND."""
        prediction = await self._store.find(identifier)
        if prediction is None or (tenant is not None and prediction.tenant != tenant):
            raise refusals.not_found(identifier)
        return prediction

    async def wait(self, prediction: Prediction, seconds: float) -> Prediction:
        """The prediction when it is over, or after so many seconds, or at a shutdown."""
        feed = self.hub.feed(prediction.id)
        give_up = time.monotonic() + seconds
        while not prediction.status.is_over and not self.closing:
            left = min(_LOOK_SECONDS, give_up - time.monotonic())
            if feed.final is None and left > 0:
                await feed.end_or_touch(left)
            if feed.final is not None:
                return feed.final
            prediction = await self.find(prediction.id, None)
            if time.monotonic() >= give_up:
                break
        return prediction

    async def page(
        self, tenant: str, wanted: Filter, before: int | None, limit: int
    ) -> Sequence[Prediction]:
        """See ``Store.page``."""
        return await self._store.page(tenant, wanted, before, limit)

    async def position(self, prediction: Prediction) -> int | None:
        """How many wait in front of one; None where it does not wait."""
        if prediction.status is not Status.STARTING:
            return None
        return await self._store.position(prediction)

    async def cancel(self, prediction: Prediction) -> Prediction:
        """End a prediction, unless it is over; its steps stop at once, on other hosts as soon as
        they hear of it."""
        canceled = await self._store.cancel(prediction)
        if canceled is None:
            return await self.find(prediction.id, None)
        self._over(canceled)
        self._measures.ended(canceled)
        return canceled

    async def delete(self, prediction: Prediction) -> None:
        """Delete a prediction and its pictures. Raises ``RequestError``: CONFLICT where it is not
        over."""
        if not prediction.status.is_over:
            raise RequestError(
                ErrorCode.CONFLICT,
                f"the prediction is {prediction.status.value}: cancel it first",
            )
        try:
            await self._retention.remove([prediction])
        except OSError as error:
            raise refusals.unreachable() from error
        await self._store.delete(prediction)
        self.hub.forget(prediction.id)

    async def picture(self, prediction: Prediction, index: int) -> Output:
        """A picture of a prediction. Raises ``RequestError``: NOT_FOUND, GONE."""
        if prediction.removed_at is not None:
            raise refusals.gone()
        for output in prediction.outputs:
            if output.index == index:
                return output
        raise RequestError(
            ErrorCode.NOT_FOUND, f"the prediction has no picture {shown(index)}", field="index"
        )

    async def read(self, output: Output, start: int, end: int) -> bytes:
        """Bytes of a picture. Raises ``RequestError``: GONE, NOT_READY."""
        try:
            return await self._files.get(output.key, start, end)
        except FileNotFoundError:
            raise refusals.gone() from None
        except OSError as error:
            raise refusals.unreachable() from error

    def _rendered(self, prediction: Prediction) -> dict[str, Any]:
        return document(prediction, self.links, prediction.base_url)

    def _execution(self, leased: Leased) -> Execution:
        return Execution(
            leased,
            self._backend,
            self._store,
            self._leases,
            self._files,
            self.hub,
            self._notices,
            self._settings.deadline,
        )

    async def _put_input(self, folder: str, pictures: bytes) -> None:
        try:
            await self._files.put(input_key(folder), pictures)
        except FilesFull as error:
            raise refusals.storage_full("the disk of the store is full") from error
        except OSError as error:
            raise refusals.unreachable() from error

    def _heard(self, message: str) -> None:
        what, _, identifier = message.partition(" ")
        if what == "new":
            self._worker.wake()
        else:
            self._worker.stop(identifier)
            self.hub.touch(identifier)
            self._deliveries.wake()

    def _over(self, prediction: Prediction) -> None:
        self.hub.ended(prediction)
        self._worker.stop(prediction.id)
