"""The Runnable around the image classifier, and the API's view of it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import Any

import aiohttp
import bentoml.legacy
import numpy as np
import numpy.typing as npt
from bentoml.exceptions import BentoMLException

from assembly import environment
from contract.errors import ErrorCode, RequestError
from models.vit import ViT
from runners.backend import RESTART_SECONDS

logger = logging.getLogger(__name__)


class ClassifierRunnable(bentoml.legacy.Runnable):
    """Scores pictures. BentoML makes the batches (``batching`` of ``classifier`` in
    configuration.yaml): the work is short and of one size, unlike that of the diffusion engine.

    It stays on the CPU, so that it takes no GPU memory from the engine.
    """

    SUPPORTED_RESOURCES = ("cpu",)
    # One worker; without this there would be one for every core.
    SUPPORTS_CPU_MULTI_THREADING = True

    def __init__(self, *, vit: ViT) -> None:
        environment.prepare()
        # Imported here, so that the API and supervisor processes stay without torch.
        from assembly.classifier import Vision

        self._vision = Vision(vit)

    @bentoml.legacy.Runnable.method(batchable=True, batch_dim=0)
    def scores(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See ``assembly.classifier.Vision.scores``."""
        return self._vision.scores(pixels)


def build_classifier_runner(vit: ViT) -> bentoml.legacy.Runner:
    """The runner ``classifier``."""
    return bentoml.legacy.Runner(
        ClassifierRunnable, name="classifier", runnable_init_params={"vit": vit}
    )


class RunnerClassifier:
    """Implements ``api.classifier.Classifier`` over the handle of a ``ClassifierRunnable``.

    Args:
        runner: the handle.
        vit: what the runner was started with.
        deadline: seconds that a picture may take.
    """

    def __init__(self, runner: Any, vit: ViT, deadline: float) -> None:
        self._runner = runner
        self._vit = vit
        self._deadline = deadline

    @property
    def vit(self) -> ViT:
        return self._vit

    async def scores(self, pixels: bytes) -> Sequence[float]:
        picture = np.frombuffer(pixels, np.uint8)
        batch = picture.reshape(1, self._vit.height, self._vit.width, 3)
        try:
            rows = await asyncio.wait_for(self._runner.scores.async_run(batch), self._deadline)
        except TimeoutError:
            raise RequestError(
                ErrorCode.DEADLINE_EXCEEDED,
                f"the picture was not classified within {self._deadline:g} seconds",
            ) from None
        except (BentoMLException, aiohttp.ClientError) as error:
            logger.error("lost the classifier: %s", error)
            raise RequestError(
                ErrorCode.NOT_READY,
                "the worker was lost before the picture was classified; try again",
                retry_after=RESTART_SECONDS,
            ) from None
        scores = [float(score) for score in rows[0]]
        if any(math.isnan(score) for score in scores):
            raise RequestError(ErrorCode.INTERNAL, "the classifier failed")
        return scores
