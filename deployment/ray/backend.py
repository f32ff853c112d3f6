"""The engine deployments as the API's backend."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException

from api.backend import ServedLora, ServedModel
from api.health import not_ready
from assembly.backend import StoreBackend
from assembly.snapshot import Snapshot
from contract.errors import ErrorCode, RequestError
from contract.events import Event, Failed, Queued, ends
from contract.model_state import Availability, ModelState
from contract.request import GenerationRequest
from contract.tenant_load import TenantLoad
from deployment.ray.attempts import Attempts
from deployment.ray.call import Call, Ended, Full, Lost, calling
from deployment.ray.delivery import Delivery
from deployment.ray.line import Line
from deployment.ray.split import deployment_name
from deployment.ray.status import Status

logger = logging.getLogger(__name__)

# How often one that waits for a replica learns its place.
LOOK_SECONDS: Final = 1.0
LEARN_SECONDS: Final = 1.0
# An engine notices a missed deadline itself, if it is there at all.
GRACE_SECONDS: Final = 5.0
RETRY_AFTER: Final = 10.0


@dataclass(frozen=True, slots=True)
class Engines:
    """One engine deployment.

    Attributes:
        models: names of those that it serves.
        handle: of the deployment.
        line: those who wait for a replica.
    """

    models: Sequence[str]
    handle: Any
    line: Line = field(default_factory=Line)


class RayBackend(StoreBackend):
    """Implements ``api.backend.Backend`` over handles of engine deployments.

    A replica that dies costs the client nothing but time: another one runs what is missing.

    Args:
        engines: the deployments; each model is in one of them.
        models: what they serve.
        loras: those of the store.
        status: knows whether they are there.
        start_seconds: how long a request may wait for a replica, beside its deadline.
    """

    def __init__(
        self,
        engines: Sequence[Engines],
        models: Sequence[ServedModel],
        loras: Snapshot[Sequence[ServedLora]],
        status: Status,
        start_seconds: float,
    ) -> None:
        super().__init__(models, loras)
        self._engines = {model: one for one in engines for model in one.models}
        self._unknown = list(engines)  # those that have not said how large pictures may be
        self._max_pixels: dict[str, int] = {}
        self._asking = asyncio.Lock()
        self._status = status
        self._start_seconds = start_seconds

    async def ready(self) -> bool:
        return await self._status.ready()

    async def states(self) -> Mapping[str, ModelState]:
        serving = await self._status.serving()
        return {
            model: ModelState(Availability.READY)
            for model, one in self._engines.items()
            if deployment_name(one.models) in serving
        }

    async def tenants(self) -> Mapping[str, TenantLoad]:
        loads: dict[str, TenantLoad] = {}
        for one in {id(each): each for each in self._engines.values()}.values():
            try:
                async with asyncio.timeout(LEARN_SECONDS):
                    # It goes to those that are there, and wakes none up.
                    answers = await one.handle.broadcast("tenants").results_async()
            except (RayError, RayServeException, TimeoutError):
                raise not_ready(deployment_name(one.models)) from None
            for answer in answers:
                for name, load in answer.items():
                    loads[name] = loads.get(name, TenantLoad()) + load
        return loads

    async def load(self, name: str) -> None:
        raise self._refusal()

    async def unload(self, name: str) -> None:
        raise self._refusal()

    def _refusal(self) -> RequestError:
        return RequestError(ErrorCode.FORBIDDEN, "replicas load and unload models by themselves")

    async def learn(self) -> None:
        if not self._unknown or self._asking.locked():
            return
        async with self._asking:
            for one in tuple(self._unknown):
                try:
                    async with asyncio.timeout(LEARN_SECONDS):
                        # It goes to those that are there, and wakes none up.
                        answers = await one.handle.broadcast("max_pixels").results_async()
                except (RayError, RayServeException, TimeoutError):
                    continue
                for pixels in answers:
                    self._max_pixels |= pixels
                self._unknown.remove(one)
            self._limit(self._max_pixels)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Run one request on a replica, and what is missing on another one if that is lost.

        The deadline counts while a replica has the request. What it takes until one has started
        has a bound of its own.
        """
        engines = self._engines[request.model]
        handle = engines.handle.options(method_name="generate", stream=True)
        delivery, attempts = Delivery(request), Attempts(request.deadline, self._start_seconds)
        while True:
            await asyncio.sleep(attempts.pause)
            wanted = delivery.attempt(attempts.seconds_left)
            async with calling(handle.remote(wanted, avoid=attempts.avoid)) as call:
                run = _Run(call, engines.line, attempts, self._start_seconds)
                async with aclosing(run.events(wanted)) as events:
                    async for event in events:
                        if attempts.another(event, run.replica, accepted=run.accepted):
                            logger.warning(
                                "asking another replica: %s",
                                event,
                                extra={"request_id": request.request_id},
                            )
                            break
                        seen = delivery.pass_on(event)
                        if seen is not None:
                            yield seen
                            if ends(seen):
                                return


class _Run:
    """One attempt at a request.

    Attributes:
        replica: the name of the one that has it.
        accepted: whether its engine has not refused it at once.
    """

    def __init__(self, call: Call, line: Line, attempts: Attempts, start_seconds: float) -> None:
        self.replica: str | None = None
        self.accepted = True
        self._call = call
        self._line = line
        self._attempts = attempts
        self._start_seconds = start_seconds

    async def events(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Its events; whatever goes wrong is a ``Failed``, a lost replica one of NOT_READY."""
        try:
            with self._line.joined(request.num_images) as place:
                give_up = monotonic() + self._start_seconds
                while (taken := await self._call.next(LOOK_SECONDS)) is None:
                    if monotonic() > give_up:
                        yield self._none_started()
                        return
                    yield Queued(place.position)
            self.replica, event = taken
            self.accepted = not isinstance(event, Failed)
            with self._attempts.at():
                give_up = monotonic() + self._attempts.seconds_left + GRACE_SECONDS
                while event is not None:
                    if ends(event):
                        self._call.finish()
                    yield event
                    if ends(event):
                        return
                    event = await self._call.next(give_up - monotonic())
            yield Failed(
                ErrorCode.DEADLINE_EXCEEDED,
                f"the picture could not be done within {round(request.deadline, 1):g} seconds",
            )
        except (Lost, Ended) as loss:
            logger.warning("lost a replica: %s", loss, extra={"request_id": request.request_id})
            yield Failed(
                ErrorCode.NOT_READY,
                "the workers were lost before the picture was done; try again",
                retry_after=RETRY_AFTER,
            )
        except Full:
            yield Failed(
                ErrorCode.BUSY, "too many requests wait for a worker", retry_after=RETRY_AFTER
            )
        except RayTaskError as error:
            logger.error(
                "a replica failed", exc_info=error, extra={"request_id": request.request_id}
            )
            yield Failed(ErrorCode.INTERNAL, "the picture could not be made")

    def _none_started(self) -> Failed:
        return Failed(
            ErrorCode.DEADLINE_EXCEEDED,
            f"no worker has started within {self._start_seconds:g} seconds",
        )
