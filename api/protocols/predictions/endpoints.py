"""The handlers of predictions that are there: to look at, to list, to cancel and to delete."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api import clients
from api.predictions.document import document, timestamp
from api.predictions.outbox import Delivery
from api.predictions.prediction import Prediction
from api.predictions.predictions import Predictions
from api.predictions.refusals import no_delivery, not_found
from api.predictions.store import Filter
from api.preferences import preferences
from api.protocols.predictions.acceptance import Acceptance
from api.protocols.predictions.bodies import ID, DeliveryQuery, ListQuery
from api.protocols.predictions.event_stream import PredictionStream
from api.protocols.predictions.pages import after, cursor_of
from api.uploads import Uploads
from contract.errors import ErrorCode, RequestError

_DEFAULT_LIMIT: Final = 20
_MAX_DELIVERIES: Final = 100


class PredictionEndpoints:
    """Handlers: each takes a request with its body unread, and raises ``RequestError``.

    Args:
        acceptance: has the predictions, and renders them.
        uploads: reads bodies, to say that there must be none.
    """

    def __init__(self, acceptance: Acceptance, uploads: Uploads) -> None:
        self._acceptance = acceptance
        self._uploads = uploads

    async def get(self, request: Request) -> Response:
        """A prediction; with ``Prefer: wait``, when it is over or the time is up."""
        predictions, prediction = await self._named(request)
        wait = preferences(request).wait
        if wait is not None:
            prediction = await predictions.wait(prediction, wait)
        position = await predictions.position(prediction)
        return self._acceptance.reply(request, predictions, prediction, position=position)

    async def page(self, request: Request) -> Response:
        """The predictions of the client, the latest first."""
        query = ListQuery.of(request.query_params.multi_items())
        predictions = await self._acceptance.opening.get()
        limit = query.limit or _DEFAULT_LIMIT
        wanted = Filter(
            status=query.status,
            model=query.model,
            search=query.search,
            id_prefix=query.id_prefix,
            created_after=_seconds(query.created_after),
            created_before=_seconds(query.created_before),
        )
        found = await predictions.page(clients.current(), wanted, after(query.cursor), limit + 1)
        base = self._acceptance.base_url(request)
        shown = found[:limit]
        following = None
        if len(found) > limit:
            given = dict(request.query_params)
            query_text = urlencode({**given, "cursor": cursor_of(shown[-1].number)})
            following = f"{base}{request.url.path}?{query_text}"
        results = [document(one, predictions.links, base) for one in shown]
        return _json({"previous": None, "next": following, "results": results})

    async def cancel(self, request: Request) -> Response:
        """End a prediction, unless it is over."""
        await self._no_body(request)
        predictions, prediction = await self._named(request)
        prediction = await predictions.cancel(prediction)
        return self._acceptance.reply(request, predictions, prediction)

    async def delete(self, request: Request) -> Response:
        """Delete a prediction that is over, and its pictures."""
        await self._no_body(request)
        predictions, prediction = await self._named(request)
        await predictions.delete(prediction)
        return Response(status_code=204)

    async def events(self, request: Request) -> Response:
        """What happens to a prediction, until it is over."""
        predictions, prediction = await self._named(request)
        base = self._acceptance.base_url(request)
        position = await predictions.position(prediction)

        def render(shown: Prediction) -> dict[str, object]:
            # Only the first one is new enough to know its place.
            return document(
                shown, predictions.links, base, position if shown is prediction else None
            )

        return PredictionStream(
            predictions, prediction, render, request.headers.get("last-event-id")
        )

    async def signing_secret(self, request: Request) -> Response:
        """The secret that tells our webhooks to this client from others'."""
        predictions = await self._acceptance.opening.get()
        return _json({"key": predictions.webhooks.signing_key(clients.current())})

    async def deliveries(self, request: Request) -> Response:
        """The last webhooks of the client's predictions, and what became of them."""
        query = DeliveryQuery.of(request.query_params.multi_items())
        predictions = await self._acceptance.opening.get()
        found = await predictions.outbox.page(clients.current(), query.state, _MAX_DELIVERIES)
        return _json({"results": [_delivery(one) for one in found]})

    async def resend(self, request: Request) -> Response:
        """Send one again that has arrived, or is dead."""
        await self._no_body(request)
        predictions = await self._acceptance.opening.get()
        identifier = request.path_params["id"]
        if not ID.fullmatch(identifier):
            raise no_delivery(identifier)
        delivery = await predictions.resend(clients.current(), identifier)
        return _json(_delivery(delivery), 202)

    async def _named(self, request: Request) -> tuple[Predictions, Prediction]:
        """The prediction of the path, if it is one of the client."""
        identifier = request.path_params["id"]
        predictions = await self._acceptance.opening.get()
        if not ID.fullmatch(identifier):
            raise not_found(identifier)
        return predictions, await predictions.find(identifier, clients.current())

    async def _no_body(self, request: Request) -> None:
        # Some clients send an empty object.
        if (await self._uploads.read(request)).strip() not in {b"", b"{}"}:
            raise RequestError(ErrorCode.INVALID_REQUEST, "there must be no body")


def _seconds(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _json(body: object, status: int = 200) -> Response:
    return JSONResponse(body, status, {"Cache-Control": "no-store"})


def _delivery(delivery: Delivery) -> dict[str, object]:
    return {
        "id": delivery.id,
        "prediction": delivery.prediction.id,
        "url": delivery.url,
        "event": "completed",
        "state": delivery.state.value,
        "attempts": delivery.attempts,
        "last_error": delivery.last_error,
        "created_at": timestamp(delivery.created_at),
        "next_attempt_at": timestamp(delivery.next_at) if delivery.state == "pending" else None,
    }
