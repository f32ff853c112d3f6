"""The engine as the API sees it, wherever it runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.events import Event
from engine.request import GenerationRequest
from models.catalog import Defaults, Task


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that is being served.

    ``tasks`` are what it can do, ``multiple_of`` is what width and height must divide by, and
    ``defaults`` are what a request to it falls back on.
    """

    name: str
    family: str
    precision: str
    description: str
    licence: str
    tasks: tuple[Task, ...]
    multiple_of: int
    defaults: Defaults


class Backend(Protocol):
    """Runs requests and reports their events; implemented over each way to host the engine."""

    @property
    def models(self) -> Sequence[ServedModel]:
        """The served models; the first one is the default."""
        ...

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Run one request. Ends as ``engine.events`` says; never raises ``RequestError``.

        Closing the iterator cancels its jobs.
        """
        ...

    async def ready(self) -> bool:
        """Whether the models are loaded and have made a picture."""
        ...
