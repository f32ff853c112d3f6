"""From the body of a prediction to what is accepted."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api import base64_text
from api.parameters import fields_named
from api.pictures import Pictures
from api.predictions.guard import Guard
from api.predictions.prediction import Options, WebhookEvent
from api.protocols.predictions.acceptance import Acceptance, Sent
from api.protocols.predictions.bodies import PredictionBody, check_id
from api.uploads import media_type, unsupported
from contract.errors import ErrorCode, RequestError
from settings import Settings

_NAMES: Final = {"init_image": "image"}
_JSON: Final = "application/json"


class PredictionRequests:
    """Reads, checks and accepts.

    Args:
        pictures: validates the requests.
        acceptance: accepts them.
        settings: say where webhooks may go.
    """

    def __init__(self, pictures: Pictures, acceptance: Acceptance, settings: Settings) -> None:
        self._pictures = pictures
        self._acceptance = acceptance
        self._guard = Guard(settings.webhook_receivers)

    async def accept(
        self, request: Request, identifier: str | None = None, model: str | None = None
    ) -> Response:
        """Accept a prediction. Raises ``RequestError``.

        Args:
            identifier: its id, if the path has one.
            model: its model, if the path has one.
        """
        if media_type(request) != _JSON:
            raise unsupported(_JSON, media_type(request))
        uploads = self._pictures.uploads
        async with uploads.body(request) as data:
            body = await uploads.parse(PredictionBody, data)
            options = self._options(body, identifier)
            native, files = body.generation()
            parameters = replace(
                native.parameters(),
                model=body.model_name(model),
                init_image=_decoded("image", files),
                mask=_decoded("mask", files),
            )
            with fields_named(_NAMES):
                wanted = await self._pictures.request(parameters, request)
            texts = {name: text.encode() for name, text in files.items()}
            sent = Sent.of(request.url.path, native, data, texts)
        return await self._acceptance.respond(request, wanted, sent, options)

    def _options(self, body: PredictionBody, identifier: str | None) -> Options:
        body.check()
        if identifier is not None:
            check_id(identifier)
            if body.id not in {None, identifier}:
                raise RequestError(
                    ErrorCode.INVALID_REQUEST, "id must be that of the path", field="id"
                )
        if body.webhook is not None:
            self._guard.check_url(body.webhook)
        return Options(
            id=identifier or body.id,
            priority=-1 if body.priority == "low" else 0,
            start_timeout=body.start_timeout,
            deadline=body.deadline,
            webhook=body.webhook,
            webhook_events=tuple(
                WebhookEvent if body.webhook_events_filter is None else body.webhook_events_filter
            ),
        )


def _decoded(name: str, files: Mapping[str, str]) -> bytes | None:
    """The bytes of a file, if it is there. Raises ``RequestError``: INVALID_REQUEST."""
    text = files.get(name)
    if text is None:
        return None
    if base64_text.is_data_url(text):
        text = base64_text.of_data_url(text)
        if text is None:
            raise _wrong(name, "its data: URL must have ;base64")
    elif "://" in text[:10]:
        raise _wrong(name, "other URLs than data: are not fetched")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _wrong(name, "it is no valid base64") from None


def _wrong(name: str, why: str) -> RequestError:
    message = f"{name} must be a file in base64, or a data: URL: {why}"
    return RequestError(ErrorCode.INVALID_REQUEST, message, field=name)
