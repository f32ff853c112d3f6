"""The image classifier as the API sees it, wherever it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from models.vit import ViT


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
