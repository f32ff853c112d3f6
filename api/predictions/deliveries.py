"""Deliveries: the last webhook of each prediction, tried until it arrives or is dead."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from api.predictions.measures import Measures
from api.predictions.outbox import Delivery, DeliveryState, Outbox
from api.predictions.prediction import Prediction
from api.predictions.webhooks import DeliveryError, Webhooks
from contract.errors import RequestError

logger = logging.getLogger(__name__)

_AT_ONCE: Final = 16
_POLL_SECONDS: Final = 1.0


class Deliveries:
    """Makes the deliveries of the outbox that are due.

    Args:
        outbox: has them.
        webhooks: sends them.
        render: the prediction as the receiver is to see it.
        measures: are told what becomes of them.
    """

    def __init__(
        self,
        outbox: Outbox,
        webhooks: Webhooks,
        render: Callable[[Prediction], dict[str, Any]],
        measures: Measures,
    ) -> None:
        self._outbox = outbox
        self._webhooks = webhooks
        self._render = render
        self._measures = measures
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There may be one to make."""
        self._wake.set()

    async def run(self) -> None:
        """Go on for ever."""
        while True:
            self._wake.clear()
            try:
                taken = await self._outbox.take(_AT_ONCE)
                await asyncio.gather(*map(self._deliver, taken))
            except RequestError as error:
                logger.warning("the deliveries of webhooks: %s", error)
                taken = []
            except Exception:
                logger.exception("the deliveries of webhooks go on")
                taken = []
            if not taken:
                try:
                    async with asyncio.timeout(_POLL_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await self._attempt(delivery)
        except asyncio.CancelledError:
            # If it was made after all, it is made once more.
            await asyncio.shield(self._outbox.put_back(delivery))
            raise

    async def _attempt(self, delivery: Delivery) -> None:
        prediction = delivery.prediction
        try:
            await self._webhooks.send(
                delivery.url, prediction.tenant, delivery.id, self._render(prediction)
            )
        except DeliveryError as error:
            state = await self._outbox.failed(delivery, str(error))
            dead = state is DeliveryState.DEAD
            self._measures.webhook("dead" if dead else "retried")
            log = logger.warning if dead else logger.info
            log("webhook %s of prediction %s: %s", delivery.id, prediction.id, error)
        else:
            await self._outbox.delivered(delivery)
            self._measures.webhook("delivered")
