"""The handlers of the native endpoints that generate pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api import event_stream, negotiation
from api.bodies import Body
from api.event_stream import EventStream
from api.parameters import fields_named
from api.pictures import Pictures
from api.protocols.native import responses
from api.protocols.native.event_stream import write
from api.protocols.native.schemas import DreamboothQuery, Img2ImgBody, InpaintBody, Txt2ImgBody
from api.protocols.predictions.acceptance import Acceptance, Sent
from api.uploads import check_json
from contract.errors import ErrorCode, RequestError
from contract.request import GenerationRequest

# Parameters that clients do not know by their neutral name.
_FORM_NAMES: Final[Mapping[str, str]] = {"init_image": "img"}
_DREAMBOOTH_NAMES: Final[Mapping[str, str]] = {"width": "img_size", "height": "img_size"}


class PictureEndpoints:
    """Handlers: each takes a request with its body unread, and raises ``RequestError``.

    Args:
        pictures: validates and runs the requests.
        acceptance: accepts them as predictions, where a client prefers that; None for nowhere.
    """

    def __init__(self, pictures: Pictures, acceptance: Acceptance | None = None) -> None:
        self._pictures = pictures
        self._acceptance = acceptance
        self._uploads = pictures.uploads

    async def txt2img(self, request: Request) -> Response:
        """JSON in, pictures out."""
        check_json(request)
        data = await self._uploads.read(request)
        body = Txt2ImgBody.parse(data)
        wanted = await self._pictures.request(body.parameters(), request)
        return await self._respond(request, wanted, self._sent(request, body, data))

    async def img2img(self, request: Request) -> Response:
        """Multipart (``img``, ``data``) in, pictures out."""
        self._pictures.check_room(request)
        async with self._uploads.form(request, ["img"], ["data"]) as parts:
            body = Img2ImgBody.parse(bytes(parts["data"]))
            given = replace(body.parameters(), init_image=parts["img"])
            with fields_named(_FORM_NAMES):
                wanted = await self._pictures.request(given, request)
            sent = self._sent(request, body, **parts)
        with fields_named(_FORM_NAMES):
            return await self._respond(request, wanted, sent)

    async def inpaint(self, request: Request) -> Response:
        """Multipart (``img``, ``mask``, ``data``) in, pictures out."""
        self._pictures.check_room(request)
        async with self._uploads.form(request, ["img", "mask"], ["data"]) as parts:
            body = InpaintBody.parse(bytes(parts["data"]))
            given = replace(body.parameters(), init_image=parts["img"], mask=parts["mask"])
            with fields_named(_FORM_NAMES):
                wanted = await self._pictures.request(given, request)
            sent = self._sent(request, body, **parts)
        with fields_named(_FORM_NAMES):
            return await self._respond(request, wanted, sent)

    async def dreambooth(self, request: Request) -> Response:
        """A prompt in the URL in, a picture of the model that it belongs to out."""
        if await self._uploads.read(request):
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                "the parameters belong into the URL: there must be no body",
            )
        query = DreamboothQuery.of(request.query_params.multi_items())
        with fields_named(_DREAMBOOTH_NAMES):
            wanted = await self._pictures.request(query.parameters(), request)
            sent = self._sent(request, query, request.url.query.encode())
            response = await self._respond(request, wanted, sent)
        response.headers["Cache-Control"] = "no-store"
        return response

    def _sent(
        self, request: Request, body: Body, data: bytes | memoryview, **pictures: memoryview
    ) -> Sent | None:
        """What was sent, of a request that is to become a prediction; else None."""
        if self._acceptance is None or not self._acceptance.wanted(request):
            return None
        return Sent.of(request.url.path, body, data, pictures)

    async def _respond(
        self, request: Request, wanted: GenerationRequest, sent: Sent | None
    ) -> Response:
        if self._acceptance is not None and sent is not None:
            return await self._acceptance.respond(request, wanted, sent)
        return await self._generate(request, wanted)

    async def _generate(self, request: Request, wanted: GenerationRequest) -> Response:
        accepted = _response_type(request, wanted)
        if accepted == event_stream.MEDIA_TYPE:
            wanted = replace(wanted, wants_progress=True)
            first, events = await self._pictures.stream(wanted, request.receive)
            return EventStream(first, events, write, responses.common_headers(wanted))
        if wanted.wants_previews:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                f"previews come in an event stream only: send Accept: "
                f"{event_stream.MEDIA_TYPE}, or leave previews out",
                field="previews",
            )
        images = await self._pictures.run(wanted, request.receive)
        if accepted == responses.JSON:
            return responses.listing(images, wanted)
        return responses.file(images[0], wanted, accepted)


def _response_type(request: Request, wanted: GenerationRequest) -> str:
    """The response's media type: the first possible one, unless the client accepts another."""
    offers = [responses.JSON, event_stream.MEDIA_TYPE]
    if wanted.num_images == 1:
        offers = [wanted.output_format.media_type, *offers, responses.BINARY]
    return negotiation.best(", ".join(request.headers.getlist("accept")), offers)
