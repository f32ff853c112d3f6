"""Pictures: requests run on a backend for as long as their clients are connected."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.types import Receive

from api import request_id
from api.backend import Backend
from api.disconnect import cancel_on_disconnect
from api.error_boundary import request_error
from api.parameters import GenerationParameters
from api.served_models import ServedModels
from api.uploads import Uploads
from api.validation import Validation
from contract.errors import ErrorCode, RequestError
from contract.events import Event, Failed, Image, ends
from contract.request import GenerationRequest
from settings import Settings
from templating.wildcards import NO_WILDCARDS, Wildcards


class Pictures:
    """Validates and runs requests, for any protocol.

    Args:
        backend: generates the pictures.
        settings: the limits.
        wildcards: the wildcards of prompt templates.

    Attributes:
        served: the served models.
        uploads: reads the bodies of requests.
    """

    def __init__(
        self, backend: Backend, settings: Settings, wildcards: Wildcards = NO_WILDCARDS
    ) -> None:
        self.served = ServedModels(backend, settings)
        self.uploads = Uploads()
        self._backend = backend
        self._validation = Validation(settings, self.served, wildcards)

    async def request(self, parameters: GenerationParameters) -> GenerationRequest:
        """Validate parameters, in a thread where that takes its time. Raises ``RequestError``."""
        await self.served.learn()
        if parameters.loras or parameters.model not in {None, *self.served.names}:
            # Other requests need not wait for a look at the store.
            await self.served.refresh()
        name = request_id.current.get()
        if parameters.init_image is None and not parameters.expand_prompt:
            return self._validation.request(parameters, name)
        return await self.uploads.run(lambda: self._validation.request(parameters, name))

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

    async def stream(
        self, wanted: GenerationRequest, receive: Receive
    ) -> tuple[Event, AsyncGenerator[Event, None]]:
        """Start a request; returns its first event, which is no ``Failed``, and those after it.

        The iterator raises nothing: it ends with the last ``Image`` or one ``Failed``. Closing it
        cancels the jobs; the caller does so, also when the client leaves (``api.event_stream``).

        Raises:
            RequestError: the request was refused at once, or the client has left before.
        """
        events = self._backend.generate(wanted)
        try:
            first = await cancel_on_disconnect(receive, _first(events))
        except BaseException:
            await events.aclose()
            raise
        return first, _complete(events)

    async def _images(self, wanted: GenerationRequest) -> list[Image]:
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
