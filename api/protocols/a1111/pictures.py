"""The handlers that look at a picture."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.classifier import BoundedClassifier
from api.errors import shown
from api.json_response import reply
from api.protocols.a1111 import bodies, file_texts, infotext, reading
from api.protocols.a1111.leftovers import unread
from api.protocols.a1111.responses import Caption, PNGInfo
from api.protocols.a1111.schemas import InterrogateRequest, PNGInfoRequest
from api.uploads import Uploads
from contract.errors import ErrorCode, RequestError

# What the web UI has for that.
_DESCRIBERS: Final = (None, "clip", "deepdanbooru")


class LookEndpoints:
    """Handlers: each takes a request with its body unread, and raises ``RequestError``.

    Args:
        uploads: reads the bodies.
        classifier: classifies pictures, if there is one.
        prompt_chars: characters of the longest prompt that is taken.
    """

    def __init__(
        self, uploads: Uploads, classifier: BoundedClassifier | None, prompt_chars: int
    ) -> None:
        self._uploads = uploads
        self._prompt_chars = prompt_chars
        self._classifier = classifier

    async def png_info(self, request: Request) -> Response:
        """The texts in a picture's file."""
        bodies.check_json(request)
        async with self._uploads.body(request) as data:
            body = await self._uploads.parse(PNGInfoRequest, data)
            file = bodies.picture("image", body.image)
            found = await asyncio.to_thread(_info, file, self._prompt_chars)
        return reply(found.model_copy(update={"ignored": [*unread(body), *found.ignored]}))

    async def interrogate(self, request: Request) -> Response:
        """What the classifier takes a picture for."""
        bodies.check_json(request)
        if self._classifier is None:
            raise RequestError(
                ErrorCode.NOT_FOUND, "there is no classifier to look at pictures", field="model"
            )
        self._classifier.check_room(request)
        async with self._uploads.body(request) as data:
            body = await self._uploads.parse(InterrogateRequest, data)
            if body.model not in _DESCRIBERS:
                raise RequestError(
                    ErrorCode.NOT_FOUND,
                    f"model must be clip or deepdanbooru, got {shown(body.model)}",
                    field="model",
                )
            file = bodies.picture("image", body.image)
            (label,) = await self._classifier.classify(memoryview(file), 1, request)
        return reply(Caption(caption=label.label, ignored=unread(body)))


def _info(file: bytes, prompt_chars: int) -> PNGInfo:
    items = file_texts.read("image", file)
    text = items.pop(file_texts.PARAMETERS, "")
    parameters = infotext.parse(text)
    found = reading.read(parameters, prompt_chars)
    return PNGInfo(
        info=text,
        items=items,
        parameters=parameters,
        request=found.request,
        ignored=list(found.notes),
    )
