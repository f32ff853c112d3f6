"""The native protocol: a body in, a picture out."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Final

import anyio
import anyio.to_thread
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from api import errors, forms, request_id
from api.admission import Admission
from api.backend import Backend
from api.schemas import Img2ImgBody, Txt2ImgBody
from engine.errors import ErrorCode, RequestError
from engine.events import Failed, Image
from engine.request import GenerationRequest
from settings import Settings

logger = logging.getLogger(__name__)

# Each decoder may hold a few copies of a picture of max_input_pixels.
_PARALLEL_DECODERS: Final = 2


class Native:
    """Answers ``/txt2img`` and ``/img2img`` on any Starlette-compatible host.

    Args:
        backend: where the pictures are made.
        settings: the limits.
    """

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self._backend = backend
        self._admission = Admission(settings, backend.models)
        self._decoders = anyio.CapacityLimiter(_PARALLEL_DECODERS)

    async def txt2img(self, request: Request) -> Response:
        """JSON in, a picture out."""
        return await self._answer(request, self._admit_txt2img)

    async def img2img(self, request: Request) -> Response:
        """Multipart (``img``, ``data``) in, a picture out."""
        return await self._answer(request, self._admit_img2img)

    async def _answer(
        self, request: Request, admit: Callable[[Request], Awaitable[GenerationRequest]]
    ) -> Response:
        """Admit and run a request; every failure becomes the native error body."""
        try:
            wanted = await admit(request)
            return _render(await self._run(request, wanted), wanted)
        except RequestError as error:
            if error.code is ErrorCode.INTERNAL:
                logger.error("internal error: %s", error.message)
            return errors.response(error)
        except ClientDisconnect:
            return errors.response(_gone())
        except Exception:
            logger.exception("internal error")
            return errors.response(RequestError(ErrorCode.INTERNAL, "unexpected exception"))

    async def _admit_txt2img(self, request: Request) -> GenerationRequest:
        media_type = _media_type(request)
        # Without a content type it can only be meant as JSON.
        if media_type and not re.fullmatch(r"application/(json|[\w.-]+\+json)", media_type):
            raise _unsupported("application/json", media_type)
        body = Txt2ImgBody.parse(await request.body())
        return self._admission.txt2img(body, request_id.current.get())

    async def _admit_img2img(self, request: Request) -> GenerationRequest:
        media_type = _media_type(request)
        if media_type != forms.MEDIA_TYPE:
            raise _unsupported(forms.MEDIA_TYPE, media_type)
        data = await request.body()
        content_type = request.headers["content-type"]

        def admit() -> GenerationRequest:
            parts = forms.read(data, content_type, ("img", "data"))
            body = Img2ImgBody.parse(parts["data"])
            return self._admission.img2img(body, parts["img"], request_id.current.get())

        return await anyio.to_thread.run_sync(admit, limiter=self._decoders)

    async def _run(self, request: Request, wanted: GenerationRequest) -> Image:
        """Wait for the picture, or for the client to leave: that cancels the job.

        A server does not cancel a handler whose client has left, so it has to look itself.
        """
        generation = asyncio.create_task(self._generate(wanted))
        departure = asyncio.create_task(_departure(request))
        try:
            await asyncio.wait((generation, departure), return_when=asyncio.FIRST_COMPLETED)
            if generation.done():
                return generation.result()
            logger.info("the client left: cancelling its job")
            raise _gone()
        finally:
            for task in (generation, departure):
                task.cancel()
                with suppress(asyncio.CancelledError, RequestError):
                    await task

    async def _generate(self, wanted: GenerationRequest) -> Image:
        async with aclosing(self._backend.generate(wanted)) as events:
            async for event in events:
                match event:
                    case Image():
                        return event
                    case Failed():
                        raise event.to_error()
        raise RequestError(ErrorCode.INTERNAL, "the backend ended without a picture")


async def _departure(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _render(image: Image, wanted: GenerationRequest) -> Response:
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", f"{wanted.model}-{image.seed}")
    headers = {
        "X-Seed": str(image.seed),
        "X-Model": wanted.model,
        "Content-Disposition": f'inline; filename="{stem}.{wanted.output_format}"',
    }
    return Response(image.data, media_type=image.media_type, headers=headers)


def _media_type(request: Request) -> str:
    media_type, _ = parse_options_header(request.headers.get("content-type"))
    return media_type.decode("latin-1")


def _gone() -> RequestError:
    return RequestError(ErrorCode.CANCELLED, "the client left")


def _unsupported(expected: str, media_type: str) -> RequestError:
    return RequestError(
        ErrorCode.UNSUPPORTED_MEDIA_TYPE,
        f"Content-Type must be {expected}, got {media_type or 'none'}",
        field="Content-Type",
    )
