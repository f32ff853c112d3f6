"""The work of each client: its requests that are being done, how far they are, and their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field

from api.pictures import Pictures
from contract.events import Failed, Image, Progress
from contract.request import GenerationRequest


@dataclass(slots=True)
class _Part:
    """One batch of a request, with its task once that is begun.

    Attributes:
        fractions: how much of each picture is done, by its index.
    """

    wanted: GenerationRequest
    fractions: dict[int, float] = field(default_factory=dict)
    images: list[Image] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    @property
    def done(self) -> bool:
        return self.task is not None and self.task.done()


class Work:
    """One request of a client.

    Args:
        name: what the client calls it.
        pictures: how many it is to have.
        passes: how often each of them is denoised.

    Attributes:
        begun: seconds on the monotonic clock.
        timestamp: the time at which it began, as ``20261127132500``.
        step: the denoising steps that are done of the picture that was heard of last; ``steps`` of
            so many.
        preview: how a picture stands, if that is known.
        interrupted: whether the client has given it up; ``skipped`` a batch of it.
    """

    def __init__(self, name: str, pictures: int, passes: int = 1) -> None:
        self.name = name
        self.pictures = pictures
        self.begun = time.monotonic()
        self.timestamp = time.strftime("%Y%m%d%H%M%S")
        self.step = self.steps = 0
        self.preview: bytes | None = None
        self.interrupted = self.skipped = False
        self._passes = passes
        self._passed = 0
        self._parts: list[_Part] = []

    @property
    def finished(self) -> int:
        """Pictures that are done."""
        done = sum(len(part.images) for part in self._parts)
        return done if self._passed == self._passes - 1 else 0

    @property
    def done(self) -> float:
        """How much of all its pictures is done, 0 to 1."""
        fractions = sum(sum(part.fractions.values()) for part in self._parts)
        passed = self._passed * self.pictures
        return min(1.0, (passed + fractions) / (self.pictures * self._passes))

    def interrupt(self) -> None:
        """Give up what is not done."""
        self.interrupted = True
        for part in self._parts:
            if part.task is not None:
                part.task.cancel()

    def skip(self) -> None:
        """Give up the first batch that is not done."""
        self.skipped = True
        for part in self._parts:
            if part.task is not None and not part.done:
                part.task.cancel()
                return

    async def run(self, pictures: Pictures, wanted: Sequence[GenerationRequest]) -> list[Image]:
        """Do the batches of a pass side by side. Cancelling it cancels them.

        Returns:
            The pictures in the order of batches and of the index in each; those that were given up
            are not there.

        Raises:
            RequestError: whatever one of them failed with; that cancels the others.
        """
        self._parts = [_Part(one) for one in wanted]
        if self.interrupted:
            return []
        for part in self._parts:
            part.task = asyncio.create_task(self._follow(pictures, part))
        tasks = [part.task for part in self._parts if part.task is not None]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                if not task.cancelled() and (error := task.exception()):
                    raise error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [
            image
            for part in self._parts
            for image in sorted(part.images, key=lambda image: image.index)
        ]

    def next_pass(self) -> None:
        """The pictures that there are will be denoised again."""
        self._passed += 1
        self._parts = []

    async def _follow(self, pictures: Pictures, part: _Part) -> None:
        async with aclosing(pictures.events(part.wanted)) as events:
            async for event in events:
                match event:
                    case Progress():
                        part.fractions[event.index] = event.step / max(event.total, 1)
                        self.step, self.steps = event.step, event.total
                        self.preview = event.preview or self.preview
                    case Image():
                        part.fractions[event.index] = 1.0
                        part.images.append(event)
                    case Failed():
                        raise event.to_error()


class WorkOfClients:
    """The work that is being done, by client; of others, nothing is kept."""

    def __init__(self) -> None:
        self._current: dict[str, list[Work]] = {}

    @contextmanager
    def begun(self, client: str, work: Work) -> Iterator[Work]:
        """Note a client's work in the block."""
        self._current.setdefault(client, []).append(work)
        try:
            yield work
        finally:
            self._current[client].remove(work)
            if not self._current[client]:
                del self._current[client]

    def of(self, client: str) -> Sequence[Work]:
        """The work of a client, the oldest first."""
        return tuple(self._current.get(client, ()))
