"""Claims: how predictions that wait become ours to run, in whichever transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection

from api.predictions.prediction import Prediction, request_of
from contract.request import GenerationRequest


@dataclass(frozen=True, slots=True)
class Leased:
    """A prediction that is ours to run.

    Attributes:
        lease: names the holding; what is done in its name is without effect once it is lost.
        written: the request, without its pictures.
        left: seconds that it may take; None for as long as any.
    """

    prediction: Prediction
    lease: str
    written: str
    left: float | None

    def request(self, pictures: bytes) -> GenerationRequest:
        """The request to run."""
        return request_of(self.written, pictures)


@dataclass(slots=True)
class Claim:
    """Takes predictions that wait, within a transaction: they are ours once it is committed.

    Attributes:
        take: takes them.
        leased: what was taken when it was done last, as a transaction may be begun again.
    """

    take: Callable[[Connection], list[Leased]]
    leased: list[Leased] = field(default_factory=list)

    def make(self, connection: Connection) -> None:
        """Take them."""
        self.leased = self.take(connection)

    @property
    def numbers(self) -> set[int]:
        """Those of what was taken."""
        return {one.prediction.number for one in self.leased}
