"""The weight cache: models, or LoRAs, in memory within a budget, least recently used first out."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Generic

from contract.observer import NullObserver, Observer, WeightKind
from engine.thread_pool import started_pool
from engine.weights.memory import release
from engine.weights.source import Presence, Source, Weights
from models.budget import check_budget
from models.footprint import Footprint, together

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Resident(Generic[Weights]):
    """What is in memory. Its source may be gone."""

    weights: Weights
    footprint: Footprint
    pinned: bool


@dataclass(frozen=True, slots=True)
class _Load(Generic[Weights]):
    """A load in progress."""

    name: str
    source: Source[Weights]
    future: Future[Weights]
    started: float


class WeightCache(Generic[Weights]):
    """Keeps weights of one kind within a budget.

    Weights in use that have to be evicted *drain*: they take no new jobs, and leave when the last
    job in progress is done. So where more are wanted than fit, they take turns, and each serves
    what waits for it by then.

    Only the engine's thread calls it, apart from ``load_all`` before the engine starts, and what
    only looks: ``in``, ``names``, ``memory``, ``pinned`` and ``presence``.

    Args:
        sources: each by its name; they may come and go.
        budget: bytes that all in memory may take together; None for no bound.
        kind: what the weights are.
        observer: is told of loads and evictions.
    """

    def __init__(
        self,
        sources: Mapping[str, Source[Weights]],
        *,
        budget: int | None = None,
        kind: WeightKind = WeightKind.MODEL,
        observer: Observer | None = None,
    ) -> None:
        self._sources = sources
        self._budget = budget
        self._kind = kind
        self._observer: Observer = observer or NullObserver()
        # The least recently used first.
        self._resident: OrderedDict[str, _Resident[Weights]] = OrderedDict()
        self._draining: set[str] = set()
        self._failed_at: dict[str, float] = {}
        self._load: _Load[Weights] | None = None
        self._loader = started_pool(1, f"{kind}-loader")

    @classmethod
    def preloaded(
        cls, weights: Mapping[str, Weights], *, kind: WeightKind = WeightKind.MODEL
    ) -> WeightCache[Weights]:
        """A cache of weights that are in memory and stay there."""
        cache = cls(
            {name: Source(partial(weights.__getitem__, name), pinned=True) for name in weights},
            kind=kind,
        )
        cache.load_all()
        return cache

    def __contains__(self, name: str) -> bool:
        """Whether it can be had, in memory or not."""
        return name in self._sources

    @property
    def names(self) -> list[str]:
        """Those of all sources."""
        return list(self._sources)

    @property
    def budget(self) -> int | None:
        return self._budget

    @property
    def residents(self) -> list[str]:
        """The names of those in memory, the least recently used first."""
        return list(self._resident)

    @property
    def loading(self) -> bool:
        """Whether a load is in progress."""
        return self._load is not None

    def pinned(self, name: str) -> bool:
        """Whether they are never evicted."""
        return self._sources[name].pinned

    def presence(self, name: str) -> Presence:
        """Where they are."""
        # A name may come to be in memory between two looks, so that is looked for last.
        load = self._load
        loading = load is not None and load.name == name
        failed = name in self._failed_at
        if name in self._resident:
            return Presence.RESIDENT
        if loading:
            return Presence.LOADING
        return Presence.FAILED if failed else Presence.ABSENT

    def memory(self, names: Iterable[str]) -> int:
        """Bytes that these take together."""
        return sum(self._sources[name].memory for name in names)

    def load_all(self) -> list[str]:
        """Load in the sources' order, pinned ones first, as long as they fit; the names loaded.

        Raises what a ``load`` raises, and ``models.errors.NotEnoughMemory`` if one could never fit
        into the budget.
        """
        sources = dict(self._sources)
        pinned = [name for name, source in sources.items() if source.pinned]
        if self._budget is not None:
            sizes = {name: source.footprint for name, source in sources.items()}
            check_budget(sizes, pinned, self._budget)
        for name in [*pinned, *(name for name in sources if name not in pinned)]:
            if self._fits(sources[name], self._resident):
                started = monotonic()
                self._add(name, sources[name], sources[name].load(), started)
        return list(self._resident)

    def available(self, name: str) -> bool:
        """Whether it is in memory and takes new jobs. Does not count as a use."""
        return name in self._resident and name not in self._draining

    def peek(self, name: str) -> Weights:
        """Weights that are available. Does not count as a use."""
        return self._resident[name].weights

    def use(self, name: str) -> Weights:
        """Weights that are available, or have jobs in progress; now the most recently used."""
        self._resident.move_to_end(name)
        return self._resident[name].weights

    def retry_after(self, name: str) -> float:
        """Seconds until it makes sense to load again what could not be loaded; 0 otherwise.

        Each try may evict others.
        """
        if name not in self._failed_at:
            return 0.0
        return max(0.0, self._failed_at[name] + RETRY_SECONDS - monotonic())

    def forgive(self, name: str) -> None:
        """Forget that it could not be loaded."""
        self._failed_at.pop(name, None)

    def can_make_room(self, name: str, protected: Collection[str]) -> bool:
        """Whether it fits beside those that are not evicted."""
        return self._victims(self._sources[name], protected) is not None

    def discard(self, name: str) -> None:
        """Evict what has no jobs; its memory is given back by another thread, as that may take
        its time."""
        self._evict(name)
        self._loader.submit(release)

    def request(
        self,
        name: str,
        when_loaded: Callable[[], None],
        *given: object,
        leased: Collection[str] = (),
        protected: Collection[str] = (),
        defer: bool = False,
    ) -> None:
        """Begin to load weights, if there is room for them or others can be evicted.

        One load is in progress at a time.

        Args:
            name: of a source.
            when_loaded: called from another thread when it is time to call ``collect``.
            given: what ``load`` is called with.
            leased: those with jobs in progress: if they have to be evicted, they drain, and are
                evicted at a later call.
            protected: those that are not evicted.
            defer: do nothing yet if leased ones would have to drain.
        """
        if name in self._resident:
            # It was draining, but what was to take its place is not wanted any more.
            self._draining.discard(name)
            return
        if self._load is not None:
            return
        source = self._sources[name]
        victims = self._victims(source, protected)
        if victims is None:
            return
        if not victims.isdisjoint(leased):
            if not defer:
                self._draining = victims
            return
        self._draining.clear()
        for victim in victims:
            self._evict(victim)
        logger.info("loading %s", name)
        work = partial(source.load, *given)
        future = self._loader.submit(partial(_release_and, work) if victims else work)
        self._load = _Load(name, source, future, monotonic())
        future.add_done_callback(lambda _: when_loaded())

    def collect(self) -> None:
        """Take over what was loaded, or note that it failed."""
        load = self._load
        if load is None or not load.future.done():
            return
        try:
            error = load.future.exception()
            if error is None:
                self._failed_at.pop(load.name, None)
                self._add(load.name, load.source, load.future.result(), load.started)
            else:
                self._note_failure(load.name, error)
        finally:
            # At last: whoever asks meanwhile sees that it is being loaded.
            self._load = None

    def close(self) -> None:
        """Wait for a load in progress, so that no thread is left behind."""
        self._loader.shutdown()

    def _victims(self, source: Source[Weights], protected: Collection[str]) -> set[str] | None:
        """Those that have to be evicted for another one to fit: what drains already, then the
        least recently used. None if it cannot fit beside the protected ones."""
        victims: set[str] = set()
        for candidate in sorted(self._resident, key=lambda each: each not in self._draining):
            if self._fits(source, self._resident.keys() - victims):
                break
            if not self._resident[candidate].pinned and candidate not in protected:
                victims.add(candidate)
        return victims if self._fits(source, self._resident.keys() - victims) else None

    def _fits(self, source: Source[Weights], beside: Iterable[str]) -> bool:
        """Whether these residents and this one are within the budget."""
        if self._budget is None:
            return True
        footprints = (self._resident[name].footprint for name in beside)
        return together([*footprints, source.footprint]) <= self._budget

    def _total(self) -> int:
        return together(resident.footprint for resident in self._resident.values())

    def _add(self, name: str, source: Source[Weights], weights: Weights, started: float) -> None:
        self._resident[name] = _Resident(weights, source.footprint, source.pinned)
        seconds = monotonic() - started
        logger.info("%s is in memory after %.1f s", name, seconds)
        self._observer.loaded(self._kind, name, seconds, self._total())

    def _note_failure(self, name: str, error: BaseException) -> None:
        # LoRAs come and go.
        known = {each: since for each, since in self._failed_at.items() if each in self._sources}
        self._failed_at = {**known, name: monotonic()}
        logger.error("%s could not be loaded", name, exc_info=error)

    def _evict(self, name: str) -> None:
        del self._resident[name]
        self._draining.discard(name)
        logger.info("%s is evicted", name)
        self._observer.evicted(self._kind, name, self._total())


def _release_and(load: Callable[[], Weights]) -> Weights:
    """Give back the memory of what was evicted, which takes its time, and load."""
    release()
    return load()
