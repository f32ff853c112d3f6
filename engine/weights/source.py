"""The source of weights: how they come into memory, what they take there, and whether they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

from models.footprint import Footprint

Weights = TypeVar("Weights")


class Presence(Enum):
    """Where weights are."""

    RESIDENT = auto()  # in memory
    LOADING = auto()
    FAILED = auto()  # they could not be loaded, and have not been since
    ABSENT = auto()


@dataclass(frozen=True, slots=True)
class Source(Generic[Weights]):
    """Weights that can be loaded.

    Attributes:
        load: brings them into memory, given what ``WeightCache.request`` was given; called from a
            thread of its own, may take long and may raise.
        memory: bytes that they will take.
        shared: of these, what others may have too, by its identity: it takes its bytes once.
        pinned: whether they are never evicted.
    """

    load: Callable[..., Weights]
    memory: int = 0
    pinned: bool = False
    shared: Mapping[str, int] = field(default_factory=dict)

    @property
    def footprint(self) -> Footprint:
        return Footprint(self.memory - sum(self.shared.values()), self.shared)
