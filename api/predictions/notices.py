"""Notices: webhooks about predictions that are not over. They are sent once, and not too often."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from api.predictions.prediction import Prediction, WebhookEvent
from api.predictions.webhooks import DeliveryError, Webhooks

logger = logging.getLogger(__name__)

THROTTLE_SECONDS: Final = 0.5
_AT_ONCE: Final = 64


class Notices:
    """Tells the webhooks that want it that something begins and goes on.

    Args:
        webhooks: sends them.
        render: the prediction as the receiver is to see it.
    """

    def __init__(self, webhooks: Webhooks, render: Callable[[Prediction], dict[str, Any]]) -> None:
        self._webhooks = webhooks
        self._render = render
        self._last: dict[int, float] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def started(self, prediction: Prediction) -> None:
        """An attempt has begun."""
        self._tell(prediction, WebhookEvent.START)

    def progressed(self, prediction: Prediction, step: int, total: int) -> None:
        """Steps were done: half a second after the last notice at the earliest."""
        if time.monotonic() - self._last.get(prediction.number, 0) >= THROTTLE_SECONDS:
            self._tell(replace(prediction, step=step, total=total), WebhookEvent.LOGS)

    def put_out(self, prediction: Prediction, step: int, total: int) -> None:
        """A picture is there."""
        self._tell(replace(prediction, step=step, total=total), WebhookEvent.OUTPUT)

    def over(self, number: int) -> None:
        """There will be no more of a prediction."""
        self._last.pop(number, None)

    async def close(self) -> None:
        """Send no more."""
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _tell(self, prediction: Prediction, event: WebhookEvent) -> None:
        if prediction.webhook is None or event not in prediction.webhook_events:
            return
        self._last[prediction.number] = time.monotonic()
        # The last webhook says it all: of those before, some may be left out.
        if len(self._sending) < _AT_ONCE:
            task = asyncio.create_task(self._send(prediction.webhook, prediction))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send(self, url: str, prediction: Prediction) -> None:
        try:
            await self._webhooks.send(
                url, prediction.tenant, uuid.uuid4().hex, self._render(prediction)
            )
        except DeliveryError as error:
            logger.info("a webhook of prediction %s: %s", prediction.id, error)
