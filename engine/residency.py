"""Which models are in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from time import monotonic

from engine.families.base import Family
from engine.memory import release
from engine.observer import Observer, Silent
from engine.pool import started_pool
from models.budget import check_budget

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model that can be brought into memory.

    Attributes:
        load: brings it there; called from a thread of its own, may take long and may raise.
        memory: bytes that it will take.
        pinned: whether it stays once it is there.
    """

    load: Callable[[], Family]
    memory: int = 0
    pinned: bool = False


class Residency:
    """Keeps models in memory within a budget; the one used longest ago makes room.

    A model in use that has to make room takes no new jobs and leaves when its last one is done.
    So with more models wanted than fit, they take turns, each serving what waits for it by then.

    Only the engine's thread calls it, apart from ``load_all`` before the engine starts.

    Args:
        sources: every model by its catalog name.
        budget: bytes that all models in memory may take together; None for no bound.
        observer: is told of loads and drops.

    Raises:
        models.errors.NotEnoughMemory: a model could never fit into the budget.
    """

    def __init__(
        self,
        sources: Mapping[str, ModelSource],
        *,
        budget: int | None = None,
        observer: Observer | None = None,
    ) -> None:
        if budget is not None:
            check_budget(
                {name: source.memory for name, source in sources.items()},
                [name for name, source in sources.items() if source.pinned],
                budget,
            )
        self._sources = dict(sources)
        self._budget = budget
        self._observer: Observer = observer or Silent()
        self._families: dict[str, Family] = {}  # the one used longest ago first
        self._leaving: set[str] = set()
        self._broken: dict[str, float] = {}  # when loading it failed
        self._loading: tuple[str, Future[Family], float] | None = None
        self._loader = started_pool(1, "model-loader")

    @classmethod
    def preloaded(cls, families: Mapping[str, Family]) -> Residency:
        """Models that are in memory and stay there."""
        residency = cls(
            {name: ModelSource(partial(families.__getitem__, name)) for name in families}
        )
        residency._families.update(families)
        return residency

    def __contains__(self, name: str) -> bool:
        """Whether the model can be had, in memory or not."""
        return name in self._sources

    def load_all(self) -> list[str]:
        """Load models in their order, pinned ones first, as long as they fit; their names.

        Raises what a model's ``load`` raises.
        """
        pinned = [name for name, source in self._sources.items() if source.pinned]
        for name in [*pinned, *(name for name in self._sources if name not in pinned)]:
            if self._excess(name) <= 0:
                started = monotonic()
                self._add(name, self._sources[name].load(), started)
        return list(self._families)

    def get(self, name: str) -> Family | None:
        """The model if it is in memory and does not have to leave; counts as its use."""
        if name not in self._families or name in self._leaving:
            return None
        return self.use(name)

    def use(self, name: str) -> Family:
        """A model with jobs in progress, which cannot have left."""
        family = self._families.pop(name)
        self._families[name] = family
        return family

    def retry_after(self, name: str) -> float:
        """Seconds until it makes sense to try again to load a model; 0 unless that has failed.

        A model that cannot be loaded would make others leave at each try.
        """
        if name not in self._broken:
            return 0.0
        return max(0.0, self._broken[name] + RETRY_SECONDS - monotonic())

    def request(self, name: str, busy: Collection[str], when_loaded: Callable[[], None]) -> None:
        """Begin to bring a model into memory, if there is room or room can be made.

        Models in ``busy`` have jobs in progress: those that must make room get no new ones, and
        leave at a later call. One model is loaded at a time.

        Args:
            when_loaded: called from another thread when it is time to call ``collect``.
        """
        if name in self._families:
            # It was to leave, but whoever wanted its place has gone.
            self._leaving.discard(name)
            return
        if self._loading is not None:
            return
        victims = self._victims(name)
        if not victims.isdisjoint(busy):
            self._leaving = victims
            return
        self._leaving.clear()
        for victim in victims:
            self._drop(victim)
        logger.info("loading %s", name)
        future = self._loader.submit(self._sources[name].load)
        self._loading = (name, future, monotonic())
        future.add_done_callback(lambda _: when_loaded())

    def collect(self) -> tuple[str, BaseException] | None:
        """Take over a model that was loaded; its name and the error if that failed."""
        if self._loading is None or not self._loading[1].done():
            return None
        name, future, started = self._loading
        self._loading = None
        error = future.exception()
        if error is not None:
            self._broken[name] = monotonic()
            return name, error
        self._add(name, future.result(), started)
        return None

    def close(self) -> None:
        """Wait for a load in progress, so that no thread is left behind."""
        self._loader.shutdown()

    def _victims(self, name: str) -> set[str]:
        """The models that have to go for another one to fit: those that are leaving already, then
        those used longest ago."""
        victims: set[str] = set()
        excess = self._excess(name)
        for candidate in sorted(self._families, key=lambda each: each not in self._leaving):
            if excess <= 0:
                break
            if not self._sources[candidate].pinned:
                victims.add(candidate)
                excess -= self._sources[candidate].memory
        return victims

    def _excess(self, name: str) -> int:
        """Bytes over the budget if this model came on top."""
        if self._budget is None:
            return 0
        taken = sum(self._sources[resident].memory for resident in self._families)
        return taken + self._sources[name].memory - self._budget

    def _add(self, name: str, family: Family, started: float) -> None:
        self._families[name] = family
        seconds = monotonic() - started
        logger.info("%s is in memory after %.1f s", name, seconds)
        self._observer.resident(name, True, seconds)

    def _drop(self, name: str) -> None:
        del self._families[name]
        self._leaving.discard(name)
        release()
        logger.info("%s has made room", name)
        self._observer.resident(name, False, 0.0)
