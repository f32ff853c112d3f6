"""The model control: models that are loaded and unloaded on request, and the state of each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from contract.errors import ErrorCode, RequestError
from contract.model_state import Availability, ModelState
from contract.request import GenerationRequest
from engine.job import Job
from engine.pipelines.base import DiffusionModel
from engine.weights.cache import WeightCache
from engine.weights.source import Presence
from models.store import readable

ABSENT = "not in memory: the next request loads it"
UNLOADED = "unloaded"


@dataclass(slots=True, eq=False)
class _Wanted:
    """A load that was asked for.

    Attributes:
        done: ends when the model is in memory, or with a ``RequestError``.
        noticed: whether the engine's thread has seen it.
        begun: whether its weights have been asked for.
    """

    done: Future[None] = field(default_factory=Future)
    noticed: bool = False
    begun: bool = False

    def __post_init__(self) -> None:
        # Several may wait for it: none of them can cancel it.
        self.done.set_running_or_notify_cancel()


class ModelControl:
    """Loads and unloads models on request.

    An unloaded model takes no new jobs, and leaves the memory when no job needs it. A model that is
    loaded on request takes the place of others that no job needs, and of no more. All but ``turn``
    may be called from any thread.

    Args:
        models: those that are served.
        wake: called when a turn is due.
    """

    def __init__(self, models: WeightCache[DiffusionModel], wake: Callable[[], None]) -> None:
        self._models = models
        self._wake = wake
        self._lock = threading.Lock()
        self._unloaded: frozenset[str] = frozenset()
        self._wanted: Mapping[str, _Wanted] = {}
        self._closed = False

    def states(self) -> dict[str, ModelState]:
        """The state of each model, by its name."""
        return {name: self._state(name) for name in self._models.names}

    def check(self, request: GenerationRequest) -> None:
        """Raise ``RequestError`` for a request that needs an unloaded model."""
        if not self._unloaded:
            return
        for model in {request.model, *(segment.model for segment in request.segments)}:
            if model in self._unloaded:
                raise RequestError(
                    ErrorCode.NOT_FOUND,
                    f"{model} is unloaded, and takes no requests until it is loaded again",
                    field="model",
                )

    def load(self, name: str) -> Future[None]:
        """Bring a model into memory.

        Returns:
            Ends when it is there; with a ``RequestError`` if it does not fit beside those that jobs
            need (BUSY), cannot be loaded (NOT_READY), or is unloaded meanwhile (NOT_FOUND).

        Raises:
            RequestError: NOT_FOUND for a model that is not served.
        """
        self._check_served(name)
        with self._lock:
            wanted = self._wanted.get(name, _Wanted())
            self._wanted = {**self._wanted, name: wanted}
            closed = self._closed
        if closed:
            self.close()
        self._wake()
        return wanted.done

    def unload(self, name: str) -> None:
        """Take no more jobs for a model, and take it out of memory when no job needs it.

        Raises:
            RequestError: NOT_FOUND for a model that is not served; INVALID_REQUEST for one that is
                to stay.
        """
        self._check_served(name)
        if self._models.pinned(name):
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                f"the model {name} is one of SD_PINNED_MODELS, which stay in memory",
                field="model",
            )
        with self._lock:
            self._unloaded |= {name}
        self._end(
            name, RequestError(ErrorCode.NOT_FOUND, f"the model {name} was unloaded meanwhile")
        )
        self._wake()

    def turn(self, jobs: Callable[[], Iterable[Job]]) -> None:
        """Evict what is unloaded and not needed, and go on with what is to be loaded.

        Called from the engine's thread.

        Args:
            jobs: returns all that have not ended.
        """
        wanted = self._wanted
        leaving = [
            name
            for name in self._unloaded - wanted.keys()
            if self._models.presence(name) is Presence.RESIDENT
        ]
        if not (leaving or wanted):
            return
        needed = {segment.model for job in jobs() for segment in job.segments_left}
        for name in leaving:
            if name not in needed:
                self._models.discard(name)
        for name, load in wanted.items():
            try:
                if self._advance(name, load, needed):
                    with self._lock:
                        self._unloaded -= {name}
                    self._end(name)
            except RequestError as error:
                self._end(name, error)

    def close(self) -> None:
        """End the loads that are waited for: there are no more turns."""
        with self._lock:
            self._closed = True
        for name in self._wanted:
            message = "the service is shutting down"
            self._end(name, RequestError(ErrorCode.NOT_READY, message))

    def _state(self, name: str) -> ModelState:
        unloaded, presence = name in self._unloaded, self._models.presence(name)
        if name in self._wanted or (presence is Presence.LOADING and not unloaded):
            return ModelState(Availability.LOADING, "being loaded")
        if unloaded:
            if presence is Presence.ABSENT:
                return ModelState(Availability.UNAVAILABLE, UNLOADED, unloaded=True)
            reason = "unloaded, and in use by earlier jobs"
            return ModelState(Availability.UNLOADING, reason, unloaded=True)
        if presence is Presence.FAILED:
            return ModelState(Availability.UNAVAILABLE, "it could not be loaded")
        return ModelState(Availability.READY, ABSENT if presence is Presence.ABSENT else "")

    def _advance(self, name: str, load: _Wanted, needed: Collection[str]) -> bool:
        """Do what can be done for a load at this moment; whether the model is there."""
        if not load.noticed:
            load.noticed = True
            # Whoever asks may have mended it.
            self._models.forgive(name)
        presence = self._models.presence(name)
        if presence is Presence.FAILED:
            raise RequestError(ErrorCode.NOT_READY, f"the model {name} could not be loaded")
        # What was loaded may have been evicted for a waiting job already.
        if presence is Presence.RESIDENT or (load.begun and presence is Presence.ABSENT):
            return True
        if not self._models.loading:
            if not self._models.can_make_room(name, needed):
                raise self._no_room(name, needed)
            load.begun = True
            self._models.request(name, self._wake, protected=needed)
        return False

    def _no_room(self, name: str, needed: Collection[str]) -> RequestError:
        residents = sorted(self._models.residents)
        stay = [each for each in residents if self._models.pinned(each)]
        used = [each for each in residents if each in needed and each not in stay]
        beside = [f"{each} (in use)" for each in used] + [f"{each} (pinned)" for each in stay]
        budget = readable(self._models.budget or 0)
        return RequestError(
            ErrorCode.BUSY,
            f"the model {name} takes {readable(self._models.memory([name]))}, for which "
            f"SD_MODEL_MEMORY ({budget}) has no room beside {' and '.join(beside)}",
            field="model",
        )

    def _check_served(self, name: str) -> None:
        if name not in self._models:
            raise RequestError(
                ErrorCode.NOT_FOUND, f"there is no model {name!r} to load or unload", field="model"
            )

    def _end(self, name: str, error: RequestError | None = None) -> None:
        """End the load of a model, if one is waited for."""
        with self._lock:
            load = self._wanted.get(name)
            self._wanted = {each: one for each, one in self._wanted.items() if each != name}
        if load is None or load.done.done():
            return
        if error is None:
            load.done.set_result(None)
        else:
            load.done.set_exception(error)
