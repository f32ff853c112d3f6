"""The state of a model: whether it can be used, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Availability(StrEnum):
    """What can be done with a model, in the words of Triton's model repository."""

    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class ModelState:
    """The state of one model.

    Attributes:
        availability: ``READY`` where a request would be served.
        reason: why it is not ready, or what a request has to wait for; may be empty.
        unloaded: whether it takes no requests because it was unloaded on request.
    """

    availability: Availability
    reason: str = ""
    unloaded: bool = False

    @property
    def ready(self) -> bool:
        return self.availability is Availability.READY
