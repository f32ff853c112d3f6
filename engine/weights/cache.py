"""Which models, and which LoRAs, are in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Generic, TypeVar

from contract.observer import Observer, Silent, WeightKind
from engine.thread_pool import started_pool
from engine.weights.memory import release
from models.budget import check_budget

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60.0

Resident = TypeVar("Resident")


@dataclass(frozen=True, slots=True)
class Source(Generic[Resident]):
    """Something that can be brought into memory.

    Attributes:
        load: brings it there, given what ``WeightCache.request`` was given; called from a thread of
            its own, may take long and may raise.
        memory: bytes that it will take.
        pinned: whether it stays once it is there.
    """

    load: Callable[..., Resident]
    memory: int = 0
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class _Kept(Generic[Resident]):
    """What is in memory. Its source may be gone."""

    it: Resident
    memory: int
    pinned: bool


class WeightCache(Generic[Resident]):
    """Keeps things of one kind in memory within a budget; the one used longest ago makes room.

    One in use that has to make room takes no new jobs and leaves when its last one is done. So
    with more of them wanted than fit, they take turns, each serving what waits for it by then.

    Only the engine's thread calls it, apart from ``load_all`` before the engine starts, and what
    looks at the sources alone: ``in`` and ``memory``.

    Args:
        sources: each by its name; they may come and go.
        budget: bytes that all in memory may take together; None for no bound.
        kind: what kind of things they are.
        observer: is told of loads and drops.
    """

    def __init__(
        self,
        sources: Mapping[str, Source[Resident]],
        *,
        budget: int | None = None,
        kind: WeightKind = WeightKind.MODEL,
        observer: Observer | None = None,
    ) -> None:
        self._sources = sources
        self._budget = budget
        self._kind = kind
        self._observer: Observer = observer or Silent()
        self._kept: dict[str, _Kept[Resident]] = {}  # the one used longest ago first
        self._leaving: set[str] = set()
        self._broken: dict[str, float] = {}  # when loading it failed
        self._loading: tuple[str, Source[Resident], Future[Resident], float] | None = None
        self._loader = started_pool(1, f"{kind}-loader")

    @classmethod
    def preloaded(
        cls, things: Mapping[str, Resident], *, kind: WeightKind = WeightKind.MODEL
    ) -> WeightCache[Resident]:
        """Things that are in memory and stay there."""
        cache = cls(
            {name: Source(partial(things.__getitem__, name), pinned=True) for name in things},
            kind=kind,
        )
        cache.load_all()
        return cache

    def __contains__(self, name: str) -> bool:
        """Whether it can be had, in memory or not."""
        return name in self._sources

    @property
    def budget(self) -> int | None:
        return self._budget

    def memory(self, names: Iterable[str]) -> int:
        """Bytes that these take together."""
        return sum(self._sources[name].memory for name in names)

    def load_all(self) -> list[str]:
        """Load things in their order, pinned ones first, as long as they fit; their names.

        Raises what a ``load`` raises, and ``models.errors.NotEnoughMemory`` if one could never fit
        into the budget.
        """
        sources = dict(self._sources)
        pinned = [name for name, source in sources.items() if source.pinned]
        if self._budget is not None:
            sizes = {name: source.memory for name, source in sources.items()}
            check_budget(sizes, pinned, self._budget)
        for name in [*pinned, *(name for name in sources if name not in pinned)]:
            if self._over(sources[name]) <= 0:
                started = monotonic()
                self._add(name, sources[name], sources[name].load(), started)
        return list(self._kept)

    def get(self, name: str) -> Resident | None:
        """The thing if it is in memory and does not have to leave; counts as its use."""
        if name not in self._kept or name in self._leaving:
            return None
        return self.use(name)

    def use(self, name: str) -> Resident:
        """A thing with jobs in progress, which cannot have left."""
        kept = self._kept.pop(name)
        self._kept[name] = kept
        return kept.it

    def retry_after(self, name: str) -> float:
        """Seconds until it makes sense to try again to load something; 0 unless that has failed.

        What cannot be loaded would make others leave at each try.
        """
        if name not in self._broken:
            return 0.0
        return max(0.0, self._broken[name] + RETRY_SECONDS - monotonic())

    def request(
        self,
        name: str,
        when_loaded: Callable[[], None],
        *given: object,
        busy: Collection[str] = (),
        kept: Collection[str] = (),
        patient: bool = False,
    ) -> None:
        """Begin to bring something into memory, if there is room or room can be made.

        One is loaded at a time.

        Args:
            name: of a source.
            when_loaded: called from another thread when it is time to call ``collect``.
            given: what ``load`` is called with.
            busy: those with jobs in progress: if they must make room, they get no new ones, and
                leave at a later call.
            kept: those that do not make room.
            patient: do nothing yet if some with jobs in progress would have to.
        """
        if name in self._kept:
            # It was to leave, but whoever wanted its place has gone.
            self._leaving.discard(name)
            return
        if self._loading is not None:
            return
        source = self._sources[name]
        victims = self._victims(source, kept)
        if victims is None:
            return
        if not victims.isdisjoint(busy):
            if not patient:
                self._leaving = victims
            return
        self._leaving.clear()
        for victim in victims:
            self._drop(victim)
        logger.info("loading %s", name)
        future = self._loader.submit(source.load, *given)
        self._loading = (name, source, future, monotonic())
        future.add_done_callback(lambda _: when_loaded())

    def collect(self) -> None:
        """Take over what was loaded, or note that it failed."""
        if self._loading is None or not self._loading[2].done():
            return
        name, source, future, started = self._loading
        self._loading = None
        error = future.exception()
        if error is None:
            self._add(name, source, future.result(), started)
        else:
            self._broken[name] = monotonic()
            logger.error("%s could not be loaded", name, exc_info=error)

    def close(self) -> None:
        """Wait for a load in progress, so that no thread is left behind."""
        self._loader.shutdown()

    def _victims(self, source: Source[Resident], staying: Collection[str]) -> set[str] | None:
        """Those that have to go for another one to fit: what is leaving already, then what was
        used longest ago. None if it cannot fit beside those that stay."""
        victims: set[str] = set()
        excess = self._over(source)
        for candidate in sorted(self._kept, key=lambda each: each not in self._leaving):
            if excess <= 0:
                break
            if not self._kept[candidate].pinned and candidate not in staying:
                victims.add(candidate)
                excess -= self._kept[candidate].memory
        return victims if excess <= 0 else None

    def _over(self, source: Source[Resident]) -> int:
        """Bytes over the budget if this one came on top."""
        if self._budget is None:
            return 0
        return self._taken() + source.memory - self._budget

    def _taken(self) -> int:
        return sum(kept.memory for kept in self._kept.values())

    def _add(self, name: str, source: Source[Resident], it: Resident, started: float) -> None:
        self._kept[name] = _Kept(it, source.memory, source.pinned)
        seconds = monotonic() - started
        logger.info("%s is in memory after %.1f s", name, seconds)
        self._observer.loaded(self._kind, name, seconds, self._taken())

    def _drop(self, name: str) -> None:
        del self._kept[name]
        self._leaving.discard(name)
        release()
        logger.info("%s has made room", name)
        self._observer.dropped(self._kind, name, self._taken())
