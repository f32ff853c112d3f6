"""The image classifier as the API sees it, wherever it runs, with a bound on its work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.requests import Request

from api import clients
from api.decoding.decoders import Decoders
from api.decoding.job import Job, Sizing
from api.limits import Range
from api.places import Places
from models.vit import ViT
from settings import Settings

DEFAULT_TOP_K: Final = 5
# A picture takes milliseconds: after a second there is room again.
_RETRY_AFTER: Final = 1.0


class Classifier(Protocol):
    """Scores pictures; implemented over each way to host the network."""

    @property
    def vit(self) -> ViT:
        """Its name and labels, and the form that pictures must have."""
        ...

    async def ready(self) -> bool:
        """Whether the network is loaded."""
        ...

    async def scores(self, pixels: bytes) -> Sequence[float]:
        """One probability, from 0 to 1, for each label.

        Args:
            pixels: an RGB picture of the network's size, row by row.

        Raises:
            RequestError: NOT_READY when the worker is lost, DEADLINE_EXCEEDED when it takes too
                long, INTERNAL when it fails.
        """
        ...


@dataclass(frozen=True, slots=True)
class ScoredLabel:
    """A label with its probability, 0 to 1."""

    label: str
    score: float


class BoundedClassifier:
    """Classifies uploaded pictures, so many at a time, for any protocol.

    Args:
        classifier: scores the pictures.
        settings: the limits.
        decoders: decode the pictures.
    """

    def __init__(self, classifier: Classifier, settings: Settings, decoders: Decoders) -> None:
        self._classifier = classifier
        self._decoders = decoders
        most = settings.max_classifications
        self._places = Places(most, most, "be classified at a time", _RETRY_AFTER)
        vit = classifier.vit
        size = (vit.width, vit.height)
        self._job = Job(
            picture="image",
            max_input_pixels=settings.max_input_pixels,
            # As the network's own image processor would resize.
            sizing=Sizing(*size, native=size, multiple=1, sides=size, max_pixels=size[0] * size[1]),
            resample=vit.resample,
        )

    @property
    def vit(self) -> ViT:
        """The classifier's name, labels and image size."""
        return self._classifier.vit

    async def ready(self) -> bool:
        """Whether it can be used."""
        return await self._classifier.ready()

    def top_k(self, wanted: int | None) -> int:
        """How many labels to return. Raises ``RequestError`` for a number out of range."""
        labels = len(self.vit.labels)
        if wanted is None:
            return min(DEFAULT_TOP_K, labels)
        Range(1, labels).check("top_k", wanted)
        return wanted

    def check_room(self, asked: Request) -> None:
        """Raises ``RequestError``: BUSY where a picture would be one too many now.

        To be asked before it is uploaded.
        """
        self._places.check(clients.current())

    async def classify(self, file: memoryview, top_k: int, asked: Request) -> list[ScoredLabel]:
        """The likeliest labels of a picture, in falling order of their scores.

        Args:
            file: what was uploaded; of no use any more once it is decoded.
            top_k: the number of labels.
            asked: the HTTP request, with its body read to its end; a client that disconnects ends
                the decoding.

        Raises:
            RequestError: BUSY above the bound; whatever is wrong with the picture, whose field is
                called ``image``; what ``Decoders.decode_for`` and the classifier raise.
        """
        with self._places.taken(clients.current()):
            decoded = await self._decoders.decode_for(asked, self._job, [file])
            # A client that leaves cancels nothing: that would hide work in progress from the count.
            scores = await self._classifier.scores(decoded.picture)
        best = sorted(zip(scores, self.vit.labels, strict=True), reverse=True)[:top_k]
        return [ScoredLabel(label, score) for score, label in best]
