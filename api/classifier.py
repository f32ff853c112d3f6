"""The image classifier as the API sees it, wherever it runs, with a bound on its work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from api import images
from api.limits import Range
from api.uploads import Uploads
from contract.errors import ErrorCode, RequestError
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
    """

    def __init__(self, classifier: Classifier, settings: Settings) -> None:
        self._classifier = classifier
        self._settings = settings
        self._uploads = Uploads()
        self._in_flight = 0

    @property
    def vit(self) -> ViT:
        """The classifier's name, labels and image size."""
        return self._classifier.vit

    def top_k(self, wanted: int | None) -> int:
        """How many labels to return. Raises ``RequestError`` for a number out of range."""
        labels = len(self.vit.labels)
        if wanted is None:
            return min(DEFAULT_TOP_K, labels)
        Range(1, labels).check("top_k", wanted)
        return wanted

    async def classify(self, read: Callable[[], bytes], top_k: int) -> list[ScoredLabel]:
        """The likeliest labels of a picture, in falling order of their scores.

        Args:
            read: returns the picture's file; called in a thread. Whatever it raises is raised.
            top_k: the number of labels.

        Raises:
            RequestError: BUSY above the bound; whatever ``api.images.decode`` and the classifier
                raise. The picture's field is called ``image``.
        """
        most = self._settings.max_classifications
        if self._in_flight >= most:
            raise RequestError(
                ErrorCode.BUSY,
                f"at most {most} pictures are classified at a time",
                retry_after=_RETRY_AFTER,
            )
        # A client that leaves cancels nothing: that would hide work in progress from the count.
        self._in_flight += 1
        try:
            pixels = await self._uploads.run(lambda: self._pixels(read()))
            scores = await self._classifier.scores(pixels)
        finally:
            self._in_flight -= 1
        best = sorted(zip(scores, self.vit.labels, strict=True), reverse=True)[:top_k]
        return [ScoredLabel(label, score) for score, label in best]

    def _pixels(self, data: bytes) -> bytes:
        """Decode and resize, as the network's own image processor would."""
        vit = self.vit
        picture = images.decode(data, self._settings.max_input_pixels, "image")
        return images.to_bytes(picture, vit.width, vit.height, vit.resample)
