"""The hub: what happens to predictions in this process, for those who watch or wait."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from api.predictions.prediction import Prediction

_EVENTS: Final = 128
_EVENTS_AFTERWARDS: Final = 4
_FEEDS: Final = 1024


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """Something that happened; ``number`` counts from 1 in its feed."""

    number: int
    name: str
    data: Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Feed:
    """The latest events of a prediction.

    Attributes:
        epoch: is another one where events were counted by another process.
        final: the prediction, once it is over.
    """

    epoch: str = field(default_factory=lambda: secrets.token_hex(4))
    events: deque[LiveEvent] = field(default_factory=lambda: deque(maxlen=_EVENTS))
    count: int = 0
    final: Prediction | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _looked: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, name: str, data: Mapping[str, Any]) -> None:
        """Note an event; the oldest makes room for it."""
        self.count += 1
        self.events.append(LiveEvent(self.count, name, data))
        self._notify()

    def end(self, prediction: Prediction) -> None:
        """Nothing more happens."""
        self.final = prediction
        self.events = deque(self.events, maxlen=_EVENTS_AFTERWARDS)
        self.touch()

    def touch(self) -> None:
        """Have those who wait look at the prediction."""
        self._notify()
        looked, self._looked = self._looked, asyncio.Event()
        looked.set()

    def since(self, number: int) -> tuple[int, list[LiveEvent]]:
        """The events after that number, and how many between are no longer there."""
        later = [event for event in self.events if event.number > number]
        first = later[0].number if later else self.count + 1
        return max(0, first - number - 1), later

    async def change(self, seconds: float) -> None:
        """Wait for the next event or end, at most so long."""
        await _wait(self._changed, seconds)

    async def end_or_touch(self, seconds: float) -> None:
        """Wait until it ends, or is to be looked at, at most so long; not at each of its steps."""
        await _wait(self._looked, seconds)

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class Hub:
    """The feeds of predictions, the least recently used of which go first.

    Args:
        on_end: is called whenever one is over that has a webhook.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._feeds: OrderedDict[str, Feed] = OrderedDict()

    def feed(self, identifier: str) -> Feed:
        """The feed of a prediction; of one that is not known here, an empty one."""
        feed = self._feeds.get(identifier)
        if feed is None:
            feed = self._feeds[identifier] = Feed()
            while len(self._feeds) > _FEEDS:
                self._feeds.popitem(last=False)
        self._feeds.move_to_end(identifier)
        return feed

    def ended(self, prediction: Prediction) -> None:
        """A prediction is over: those who wait are told."""
        if prediction.id in self._feeds:
            self._feeds[prediction.id].end(prediction)
        if prediction.webhook is not None:
            self._on_end()

    def touch(self, identifier: str) -> None:
        """Have those who wait for a prediction look at it."""
        if identifier in self._feeds:
            self._feeds[identifier].touch()

    def touch_all(self) -> None:
        """Have all who wait look again."""
        for feed in self._feeds.values():
            feed.touch()

    def forget(self, identifier: str) -> None:
        """A prediction was deleted."""
        self.touch(identifier)
        self._feeds.pop(identifier, None)
