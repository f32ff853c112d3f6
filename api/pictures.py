"""Pictures: requests run on a backend for as long as their clients are connected."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.types import Receive

from api import clients, request_id
from api.backend import Backend
from api.decoding.decoders import Decoders
from api.disconnect import cancel_on_disconnect
from api.error_boundary import request_error
from api.keys.metering import Metering
from api.parameters import GenerationParameters
from api.places import Places
from api.served_models import ServedModels
from api.uploads import Uploads
from api.validation import Draft, Validation
from contract.errors import ErrorCode, RequestError
from contract.events import Event, Failed, Image, ends
from contract.request import GenerationRequest
from settings import Settings
from templating.wildcards import NO_WILDCARDS, Wildcards

logger = logging.getLogger(__name__)

# Templates that are expanded at a time; each takes milliseconds, as their size is bounded.
_PARALLEL_TEMPLATES: Final = 2
# Pictures are decoded in milliseconds: after two seconds there is room again.
_RETRY_AFTER: Final = 2.0


class Pictures:
    """Validates and runs requests, for any protocol.

    Args:
        backend: generates the pictures.
        settings: the limits.
        wildcards: the wildcards of prompt templates.
        metering: has the accounts of the keys.

    Attributes:
        served: the served models.
        uploads: reads the bodies of requests.
        decoders: decode the pictures in them.
    """

    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        wildcards: Wildcards = NO_WILDCARDS,
        metering: Metering | None = None,
    ) -> None:
        self.served = ServedModels(backend, settings)
        self.uploads = Uploads(settings)
        self.decoders = Decoders(settings)
        self._places = Places(
            settings.max_queue,
            max(1, settings.max_queue // 2),
            "wait for the decoding of their pictures",
            _RETRY_AFTER,
        )
        self._templates = anyio.CapacityLimiter(_PARALLEL_TEMPLATES)
        self._backend = backend
        self._metering = metering or Metering()
        self._log_prompts = settings.log_prompts
        self._validation = Validation(settings, self.served, wildcards)

    def check_room(self, asked: Request) -> None:
        """Raises ``RequestError``: BUSY where too many pictures wait for their decoding.

        To be asked before more are uploaded.
        """
        self._places.check(clients.current())

    async def request(self, parameters: GenerationParameters, asked: Request) -> GenerationRequest:
        """Validate parameters, and decode the pictures among them.

        Args:
            parameters: what is wanted.
            asked: the HTTP request, with its body read to its end; a client that disconnects ends
                the decoding.

        Raises:
            RequestError: whatever is wrong; BUSY where too many pictures wait; what
                ``Decoders.decode_for`` raises.
        """
        if parameters.model is not None:
            parameters = replace(parameters, model=self.served.resolve(parameters.model))
        await self.served.learn()
        if parameters.loras or parameters.model not in {None, *self.served.names}:
            # Other requests need not wait for a look at the store.
            await self.served.refresh()
        draft = await self._draft(parameters)
        if draft.job is None:
            self._log(draft.request)
            return draft.request
        files = [file for file in (parameters.init_image, parameters.mask) if file is not None]
        with self._places.taken(clients.current()):
            decoded = await self.decoders.decode_for(asked, draft.job, files)
        wanted = self._validation.completed(draft, decoded)
        self._log(wanted)
        return wanted

    def _log(self, wanted: GenerationRequest) -> None:
        size, steps = f"{wanted.width} x {wanted.height}", wanted.num_inference_steps
        logger.info(
            "%d of %s with %s in %d steps", wanted.num_images, size, wanted.served_as, steps
        )
        if self._log_prompts:
            prompts = json.dumps(wanted.prompts or [wanted.prompt])
            logger.info("prompts: %s, not: %s", prompts, json.dumps(wanted.negative_prompt))

    async def _draft(self, parameters: GenerationParameters) -> Draft:
        name = request_id.current.get()
        if not parameters.expand_prompt:
            return self._validation.draft(parameters, name)
        return await anyio.to_thread.run_sync(
            self._validation.draft, parameters, name, limiter=self._templates
        )

    async def own_picture(self, parameters: GenerationParameters) -> GenerationRequest:
        """Validate parameters whose ``init_image`` is a picture that the service has just made.

        It needs no process that can be killed, and its request was admitted.

        Raises:
            RequestError: whatever is wrong.
        """
        # Otherwise nothing here needs Pillow.
        from api.decoding import pictures

        draft = await self._draft(parameters)
        if draft.job is None or parameters.init_image is None:
            raise ValueError("there is no picture")
        files = [bytes(parameters.init_image)]
        decoded = await asyncio.to_thread(pictures.run, draft.job, files, lambda _: None)
        return self._validation.completed(draft, decoded)

    async def check(self, parameters: GenerationParameters) -> None:
        """Raise ``RequestError`` for what is wrong with parameters, whatever their pixels."""
        await self.served.learn()
        await self._draft(parameters)

    def events(self, wanted: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Run a request, for whoever watches its client.

        The iterator raises nothing: it ends with the last ``Image`` or one ``Failed``. Closing it
        cancels the jobs.
        """
        return _complete(self._backend.generate(wanted))

    async def run(self, wanted: GenerationRequest, receive: Receive) -> list[Image]:
        """Generate all pictures of a request; returns them in the order of their index.

        Args:
            wanted: the request.
            receive: its ASGI channel, with the body read to its end; a client that disconnects
                cancels the jobs.

        Raises:
            RequestError: whatever the request failed with; CANCELLED if the client has left.
        """
        return await cancel_on_disconnect(receive, self._images(wanted))

    async def run_all(
        self, wanted: Sequence[GenerationRequest], receive: Receive
    ) -> list[list[Image]]:
        """Generate the pictures of several requests of one client, as ``run`` does, side by side.

        The first failure cancels the others.
        """
        return await cancel_on_disconnect(receive, self._side_by_side(wanted))

    async def stream(
        self, wanted: GenerationRequest, receive: Receive
    ) -> tuple[Event, AsyncGenerator[Event, None]]:
        """Start a request; returns its first event, which is no ``Failed``, and those after it.

        The iterator raises nothing: it ends with the last ``Image`` or one ``Failed``. Closing it
        cancels the jobs; the caller does so, also when the client leaves (``api.event_stream``).

        Raises:
            RequestError: the request was refused at once, or the client has left before.
        """
        events = self._metering.metered(wanted, self._backend.generate)
        try:
            first = await cancel_on_disconnect(receive, _first(events))
        except BaseException:
            await events.aclose()
            raise
        return first, _complete(events)

    async def _side_by_side(self, wanted: Sequence[GenerationRequest]) -> list[list[Image]]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._images(one)) for one in wanted]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _images(self, wanted: GenerationRequest) -> list[Image]:
        images: list[Image] = []
        async with aclosing(self._metering.metered(wanted, self._backend.generate)) as events:
            async for event in events:
                match event:
                    case Image():
                        images.append(event)
                        if event.last:
                            return sorted(images, key=lambda image: image.index)
                    case Failed():
                        raise event.to_error()
        raise RequestError(ErrorCode.INTERNAL, "the backend ended before the last picture")


async def _first(events: AsyncGenerator[Event, None]) -> Event:
    """The first event. Raises ``RequestError`` for a failure."""
    event = await anext(events)
    if isinstance(event, Failed):
        raise event.to_error()
    return event


async def _complete(events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """The events with a ``Failed`` for an exception, and at an end without a last picture."""
    async with aclosing(events):
        while True:
            try:
                event = await anext(events)
                if isinstance(event, Failed):
                    raise event.to_error()
            except Exception as error:
                yield Failed.from_error(request_error(error))
                return
            yield event
            if ends(event):
                return
