"""The native protocol: a body in, pictures out."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from api import event_stream, negotiation, request_id, responses
from api.backend import Backend
from api.disconnect import cancel_on_disconnect
from api.error_boundary import with_error_response
from api.event_stream import EventStream
from api.schemas import DreamboothQuery, Img2ImgBody, InpaintBody, Txt2ImgBody
from api.served_models import ServedModels
from api.uploads import Uploads, form_body, media_type, unsupported
from api.validation import Validation
from contract.errors import ErrorCode, RequestError
from contract.events import Event, Failed, Image
from contract.request import GenerationRequest
from settings import Settings
from templating.wildcards import NO_WILDCARDS, Wildcards

Admit = Callable[[Request], Awaitable[GenerationRequest]]


class Native:
    """Answers the endpoints that make pictures on any Starlette-compatible host.

    Args:
        backend: where the pictures are made.
        settings: the limits.
        wildcards: what templates may name.
    """

    def __init__(
        self, backend: Backend, settings: Settings, wildcards: Wildcards = NO_WILDCARDS
    ) -> None:
        self._backend = backend
        self._validation = Validation(settings, ServedModels(backend, settings), wildcards)
        self._uploads = Uploads()

    async def txt2img(self, request: Request) -> Response:
        """JSON in, pictures out."""
        return await self._answer(request, self._admit_txt2img)

    async def img2img(self, request: Request) -> Response:
        """Multipart (``img``, ``data``) in, pictures out."""
        return await self._answer(request, self._admit_img2img)

    async def inpaint(self, request: Request) -> Response:
        """Multipart (``img``, ``mask``, ``data``) in, pictures out."""
        return await self._answer(request, self._admit_inpaint)

    async def dreambooth(self, request: Request) -> Response:
        """A prompt in the URL in, a picture of the model that it belongs to out."""
        response = await self._answer(request, self._admit_dreambooth)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    async def _answer(self, request: Request, admit: Admit) -> Response:
        return await with_error_response(self._run(request, admit))

    async def _run(self, request: Request, admit: Admit) -> Response:
        """Admit and run a request. Raises ``RequestError``."""
        wanted = await admit(request)
        form = _form(request, wanted)
        if form == event_stream.MEDIA_TYPE:
            return await self._stream(request, replace(wanted, wants_progress=True))
        if wanted.wants_previews:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                f"previews come in an event stream only: send Accept: "
                f"{event_stream.MEDIA_TYPE}, or leave previews out",
                field="previews",
            )
        images = await cancel_on_disconnect(request.receive, self._images(wanted))
        if form == responses.JSON:
            return responses.listing(images, wanted)
        return responses.file(images[0], wanted)

    async def _admit_txt2img(self, request: Request) -> GenerationRequest:
        given = media_type(request)
        # Without a content type it can only be meant as JSON.
        if given and not re.fullmatch(r"application/(json|[\w.-]+\+json)", given):
            raise unsupported("application/json", given)
        body = Txt2ImgBody.parse(await request.body())
        name = request_id.current.get()
        if not body.expand_prompt:
            return self._validation.txt2img(body, name)
        return await self._uploads.run(lambda: self._validation.txt2img(body, name))

    async def _admit_dreambooth(self, request: Request) -> GenerationRequest:
        if await request.body():
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                "the parameters belong into the URL: there must be no body",
            )
        query = DreamboothQuery.of(request.query_params.multi_items())
        return self._validation.dreambooth(query, request_id.current.get())

    async def _admit_img2img(self, request: Request) -> GenerationRequest:
        def admit(parts: Mapping[str, bytes], name: str) -> GenerationRequest:
            body = Img2ImgBody.parse(parts["data"])
            return self._validation.img2img(body, parts["img"], name)

        return await self._admit_form(request, ("img", "data"), admit)

    async def _admit_inpaint(self, request: Request) -> GenerationRequest:
        def admit(parts: Mapping[str, bytes], name: str) -> GenerationRequest:
            body = InpaintBody.parse(parts["data"])
            return self._validation.inpaint(body, parts["img"], parts["mask"], name)

        return await self._admit_form(request, ("img", "mask", "data"), admit)

    async def _admit_form(
        self,
        request: Request,
        names: Collection[str],
        admit: Callable[[Mapping[str, bytes], str], GenerationRequest],
    ) -> GenerationRequest:
        """Read a form with the parts ``names`` and admit it in a thread."""
        body = await form_body(request)
        name = request_id.current.get()
        return await self._uploads.process(
            body, request.headers["content-type"], names, lambda parts: admit(parts, name)
        )

    async def _images(self, wanted: GenerationRequest) -> list[Image]:
        """Run a request; returns its pictures in the order of their index."""
        images: list[Image] = []
        async with aclosing(self._backend.generate(wanted)) as events:
            async for event in events:
                match event:
                    case Image():
                        images.append(event)
                        if event.last:
                            return sorted(images, key=lambda image: image.index)
                    case Failed():
                        raise event.to_error()
        raise RequestError(ErrorCode.INTERNAL, "the backend ended before the last picture")

    async def _stream(self, request: Request, wanted: GenerationRequest) -> EventStream:
        """Start a request; one that is refused at once gets an answer of its own."""
        events = self._backend.generate(wanted)
        try:
            first = await cancel_on_disconnect(request.receive, _first(events))
        except BaseException:
            await events.aclose()
            raise
        return EventStream(first, events, wanted)


async def _first(events: AsyncGenerator[Event, None]) -> Event:
    """The first event. Raises ``RequestError`` for a failure."""
    event = await anext(events)
    if isinstance(event, Failed):
        raise event.to_error()
    return event


def _form(request: Request, wanted: GenerationRequest) -> str:
    """The media type of the answer: the first one that is possible, unless the client says."""
    offers = [responses.JSON, event_stream.MEDIA_TYPE]
    if wanted.num_images == 1:
        offers.insert(0, wanted.output_format.media_type)
    return negotiation.best(", ".join(request.headers.getlist("accept")), offers)
