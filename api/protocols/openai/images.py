"""The handlers of the endpoints that make pictures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api import base64_text, forms
from api.event_stream import EventStream
from api.parameters import GenerationParameters, fields_named
from api.pictures import Pictures
from api.protocols.native.responses import JSON, common_headers
from api.protocols.openai import form_fields, tolerance
from api.protocols.openai.bodies import (
    ImageEdit,
    ImageEditReferences,
    ImageGeneration,
    ImagesBody,
    ImageVariation,
    PictureReference,
    StreamedBody,
)
from api.protocols.openai.event_stream import Writer
from api.protocols.openai.responses import ImagesResponse
from api.protocols.predictions.acceptance import Acceptance, Sent
from api.uploads import check_json, is_json, media_type, unsupported
from contract.errors import ErrorCode, RequestError
from contract.request import GenerationRequest

# Some clients write the second one, for one picture and for several.
_IMAGE: Final = frozenset({"image", "image[]"})
_MASK: Final = "mask"
# Of every field with its elements, and the pictures.
_MAX_PARTS: Final = 96
# What the events' names begin with.
GENERATION: Final = "image_generation"
EDIT: Final = "image_edit"


@dataclass(frozen=True, slots=True)
class Order:
    """A request that has been read.

    Attributes:
        wanted: what is to be made.
        body: how it was asked for.
        names: the client's names of the parameters.
        sent: what the client has sent, where its pictures are to be kept.
    """

    wanted: GenerationRequest
    body: ImagesBody
    names: Mapping[str, str]
    sent: Sent | None

    def named(self) -> AbstractContextManager[None]:
        """Raise every ``RequestError`` of the block with these names."""
        return fields_named(self.names)


class ImageEndpoints:
    """Handlers: each takes a request with its body unread, and raises ``RequestError``.

    Args:
        pictures: validates and runs the requests.
        acceptance: keeps pictures that links lead to; None where nothing is kept.
    """

    def __init__(self, pictures: Pictures, acceptance: Acceptance | None = None) -> None:
        self._acceptance = acceptance
        self._pictures = pictures
        self._uploads = pictures.uploads

    async def generations(self, request: Request) -> Response:
        """JSON in, pictures out."""
        check_json(request)
        body = ImageGeneration.parse(await self._uploads.read(request))
        return await self._respond(GENERATION, await self._order(body, request), request)

    async def edits(self, request: Request) -> Response:
        """A form or JSON in, pictures out."""
        self._pictures.check_room(request)
        read = self._edit_of_json if is_json(request) else self._edit_of_form
        return await self._respond(EDIT, await read(request), request)

    async def variations(self, request: Request) -> Response:
        """A form in, pictures out."""
        self._pictures.check_room(request)
        async with self._uploads.parts(request, _IMAGE, _MAX_PARTS) as parts:
            body = form_fields.parse(ImageVariation, _texts(parts, _IMAGE))
            order = await self._order(body, request, image=_image(parts))
        return await self._respond(EDIT, order, request)

    async def _edit_of_form(self, request: Request) -> Order:
        if media_type(request) != forms.MEDIA_TYPE:
            raise unsupported(f"{forms.MEDIA_TYPE} or {JSON}", media_type(request))
        pictures = _IMAGE | {_MASK}
        async with self._uploads.parts(request, pictures, _MAX_PARTS) as parts:
            body = form_fields.parse(ImageEdit, _texts(parts, pictures))
            mask = _only(_MASK, [part for name, part in parts if name == _MASK])
            return await self._order(body, request, image=_image(parts), mask=mask)

    async def _edit_of_json(self, request: Request) -> Order:
        async with self._uploads.body(request) as data:
            body = await self._uploads.parse(ImageEditReferences, data)
            if len(body.images) > 1:
                raise _several("images", len(body.images))
            # Some milliseconds for a large one.
            image = await asyncio.to_thread(_referred, "images.0", body.images[0])
            mask = None
            if body.mask is not None:
                mask = await asyncio.to_thread(_referred, _MASK, body.mask)
            names = {"init_image": "images.0.image_url", "mask": "mask.image_url"}
            return await self._order(body, request, names, image=image, mask=mask)

    async def _order(
        self,
        body: ImagesBody,
        request: Request,
        names: Mapping[str, str] | None = None,
        image: bytes | memoryview | None = None,
        mask: bytes | memoryview | None = None,
    ) -> Order:
        """Validate a request, whose pictures are of use as long as its body."""
        tolerance.check(body, with_links=self._acceptance is not None)
        names = {**body.names, **({"init_image": "image"} if names is None else names)}
        with fields_named(names):
            wanted = await self._pictures.request(_parameters(body, image, mask), request)
        sent = None
        if body.response_format == tolerance.LINKS:
            place = "images" if isinstance(body, ImageEditReferences) else "image"
            files = {name: file for name, file in ((place, image), (_MASK, mask)) if file}
            text = body.model_dump_json(exclude_unset=True, exclude={place, _MASK})
            sent = Sent.of(request.url.path, body, text.encode(), files)
        return Order(wanted, body, names, sent)

    async def _respond(self, kind: str, order: Order, request: Request) -> Response:
        wanted, body = order.wanted, order.body
        warnings = tolerance.warnings(body, request.query_params)
        headers = common_headers(wanted)
        with order.named():
            if isinstance(body, StreamedBody) and body.stream:
                writer = Writer(kind, wanted, body.partial_images or 0, warnings)
                first, events = await self._pictures.stream(wanted, request.receive)
                return EventStream(first, events, writer.write, headers)
            links = None
            if order.sent is None or self._acceptance is None:
                images = await self._pictures.run(wanted, request.receive)
            else:
                await self._acceptance.check_room()
                began = time.monotonic()
                images = await self._pictures.run(wanted, request.receive)
                seconds = time.monotonic() - began
                links = await self._acceptance.keep(request, wanted, order.sent, images, seconds)
        answer = ImagesResponse.of(wanted, images, warnings, links)
        return Response(answer.model_dump_json(), media_type=JSON, headers=headers)


def _parameters(
    body: ImagesBody, image: bytes | memoryview | None, mask: bytes | memoryview | None
) -> GenerationParameters:
    """In neutral names, with the pictures: an edit without a mask is one of the whole picture."""
    parameters = replace(body.parameters(), init_image=image)
    if parameters.task != "inpaint":
        return parameters
    if mask is None:
        return replace(parameters, task="img2img")
    return replace(parameters, mask=mask, mask_is_alpha=True)


def _texts(
    parts: Sequence[tuple[str, memoryview]], pictures: frozenset[str]
) -> list[tuple[str, bytes]]:
    """The parts that are no pictures."""
    return [(name, bytes(part)) for name, part in parts if name not in pictures]


def _image(parts: Sequence[tuple[str, memoryview]]) -> memoryview:
    """The input picture of a form."""
    image = _only("image", [part for name, part in parts if name in _IMAGE])
    if image is None:
        raise _invalid("image is required", "image")
    return image


def _only(name: str, parts: Sequence[memoryview]) -> memoryview | None:
    if len(parts) > 1:
        raise _several(name, len(parts))
    return parts[0] if parts else None


def _referred(place: str, reference: PictureReference) -> bytes:
    """The picture that a field in JSON has. Blocking."""
    if reference.file_id is not None:
        field = f"{place}.file_id"
        raise _invalid(f"{field} must be absent: there are no files to refer to", field)
    field = f"{place}.image_url"
    if reference.image_url is None:
        raise _invalid(f"{field} is required", field)
    data = base64_text.of_data_url(reference.image_url)
    if data is None:
        raise _invalid(
            f"{field} must be a data URL with base64, data:image/png;base64,...: the service "
            "fetches nothing",
            field,
        )
    return base64_text.decode(field, data)


def _several(field: str, number: int) -> RequestError:
    return _invalid(f"{field} must be one picture, got {number}", field)


def _invalid(message: str, field: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_REQUEST, message, field=field)
