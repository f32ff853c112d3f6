"""The classifier of one picture at a time over a network of batches."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from contract.errors import ErrorCode, RequestError
from models.vit import ViT


class NetworkClassifier(ABC):
    """Implements ``api.classifier.Classifier``, wherever the network is.

    Args:
        vit: what the network was loaded from.
        deadline: seconds that a picture may take.
    """

    def __init__(self, vit: ViT, deadline: float) -> None:
        self._vit = vit
        self._deadline = deadline

    @property
    def vit(self) -> ViT:
        return self._vit

    @abstractmethod
    async def ready(self) -> bool:
        """Whether the network is loaded."""

    async def scores(self, pixels: bytes) -> Sequence[float]:
        picture = np.frombuffer(pixels, np.uint8)
        batch = picture.reshape(1, self._vit.height, self._vit.width, 3)
        try:
            rows = await asyncio.wait_for(self._run(batch), self._deadline)
        except TimeoutError:
            raise RequestError(
                ErrorCode.DEADLINE_EXCEEDED,
                f"the picture was not classified within {self._deadline:g} seconds",
            ) from None
        scores = [float(score) for score in rows[0]]
        if any(math.isnan(score) for score in scores):
            raise RequestError(ErrorCode.INTERNAL, "the classifier failed")
        return scores

    @abstractmethod
    async def _run(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See ``assembly.network.ClassifierNetwork.scores``. Raises ``RequestError``."""
