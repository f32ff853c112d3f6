"""The engine as the API sees it, wherever it runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from contract.events import Event
from contract.model_state import ModelState
from contract.request import GenerationRequest
from contract.screening import Action, CheckName
from contract.tenant_load import TenantLoad
from models.architectures import SCHEDULERS
from models.catalog import Defaults, Task
from models.finetuned import Provenance
from models.quantization import Part, Scheme
from settings.requests import MOST_PIXELS


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that is being served.

    ``tasks`` are those it can do; width and height must be multiples of ``multiple_of``;
    ``defaults`` are for parameters that a request leaves out. A fine-tuned one has a
    ``provenance``, and its ``size`` in bytes on the disk. ``screening`` has the action on a picture
    that a check finds something in; checks that are absent are not made. ``schedulers``
    are the names that its architecture takes, ``fields`` the optional fields of a request that it
    takes and others may not. ``refiner`` is the model that finishes its pictures where a request
    names no other one; ``is_refiner`` says whether it can do that for others of its family.
    ``max_pixels`` is width x height of its largest picture: as set, or what it does in the time
    that a pass may take. ``quantized`` has the scheme for each of its parts that is quantised.
    """

    name: str
    family: str
    precision: str
    description: str
    licence: str
    tasks: tuple[Task, ...]
    multiple_of: int
    defaults: Defaults
    provenance: Provenance | None = None
    size: int | None = None
    screening: Mapping[CheckName, Action] = field(default_factory=dict)
    schedulers: tuple[str, ...] = SCHEDULERS
    fields: frozenset[str] = frozenset()
    refiner: str | None = None
    is_refiner: bool = False
    max_pixels: int = MOST_PIXELS
    quantized: Mapping[Part, Scheme] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServedLora:
    """A LoRA that can be applied to a model, alone (then it is a model itself) or with others.

    ``tag`` is its version in the model store, ``size`` bytes on the disk, ``memory`` bytes of its
    weights in the precision that is served.
    """

    name: str
    tag: str
    size: int
    memory: int
    provenance: Provenance

    @property
    def base(self) -> str:
        """The model that it was made for."""
        return self.provenance.base


class Backend(Protocol):
    """Runs requests and reports their events; implemented over each way to host the engine."""

    @property
    def models(self) -> Sequence[ServedModel]:
        """The served models; the first one is the default."""
        ...

    @property
    def loras(self) -> Sequence[ServedLora]:
        """The LoRAs as of the last ``refresh``."""
        ...

    async def refresh(self) -> None:
        """Look for LoRAs that other processes have added or removed, without blocking the loop.

        To be awaited before a request is validated: one may be registered a moment before.
        """
        ...

    async def learn(self) -> None:
        """Learn how large pictures of each model may be, if that is not known since the worker has
        started; without that, a request that is too large is refused by the worker itself.

        To be awaited before a request is validated.
        """
        ...

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Run one request. Ends as ``contract.events`` says; never raises ``RequestError``.

        Closing the iterator cancels its jobs.
        """
        ...

    async def ready(self) -> bool:
        """Whether the models are loaded and have generated a picture."""
        ...

    async def states(self) -> Mapping[str, ModelState]:
        """The state of each model, by its name; of none that is not there yet."""
        ...

    async def tenants(self) -> Mapping[str, TenantLoad]:
        """What each tenant has waiting and running, by its name; of none that has nothing.

        Raises:
            RequestError: NOT_READY where the engine does not say.
        """
        ...

    async def load(self, name: str) -> None:
        """Bring a served model into memory; returns when it is there, however long that takes.

        Raises:
            RequestError: BUSY where it does not fit beside those in use, NOT_READY where it cannot
                be loaded, FORBIDDEN where the host does not do that.
        """
        ...

    async def unload(self, name: str) -> None:
        """Take no more requests for a served model; it leaves the memory when no job needs it.

        Raises:
            RequestError: INVALID_REQUEST for one that is to stay, FORBIDDEN where the host does not
                do that.
        """
        ...
