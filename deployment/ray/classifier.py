"""The classifier deployment, and its handle as the API's classifier."""

from __future__ import annotations

import logging
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException

from assembly import environment, logs, startup
from assembly.classifier import NetworkClassifier
from contract.errors import ErrorCode, RequestError
from deployment.ray.status import Status
from models.vit import ViT
from settings import Settings

logger = logging.getLogger(__name__)

# The deployment's name.
CLASSIFIER: Final = "classifier"
BATCH: Final = 16
WAIT_SECONDS: Final = 0.01
# Of a picture: the first attempt, and on another replica, should that be lost.
ATTEMPTS: Final = 3
RETRY_AFTER: Final = 10.0


class ClassifierReplica:
    """Scores pictures, on the CPU: it takes no GPU memory from the engines.

    Args:
        settings: which classifier.

    Raises:
        RuntimeError: says in a sentence why it cannot start.
    """

    def __init__(self, settings: Settings) -> None:
        environment.prepare()
        logs.configure(settings)
        # Imported here, as it imports torch.
        from assembly.network import ClassifierNetwork

        with startup.explained(RuntimeError):
            vit = startup.find_classifier(settings)
            if vit is None:
                raise RuntimeError("SD_CLASSIFIER is none: there is nothing to deploy")
            self._network = ClassifierNetwork(vit)

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT_SECONDS)
    async def scores(self, pictures: list[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.float32]]:
        """See ``assembly.network.ClassifierNetwork.scores``; called with one picture each."""
        return list(self._network.scores(np.stack(pictures)))


class RayClassifier(NetworkClassifier):
    """The network behind the handle of a classifier deployment.

    Args:
        handle: of the deployment.
        vit: what it was started with.
        deadline: seconds that a picture may take.
        status: knows whether the deployment is there.
    """

    def __init__(self, handle: Any, vit: ViT, deadline: float, status: Status) -> None:
        super().__init__(vit, deadline)
        self._handle = handle
        self._status = status

    async def ready(self) -> bool:
        return CLASSIFIER in await self._status.serving()

    async def _run(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        for _ in range(ATTEMPTS):
            try:
                rows = [await self._handle.scores.remote(picture) for picture in batch]
            except RayTaskError as error:
                logger.error("the classifier failed", exc_info=error)
                raise RequestError(ErrorCode.INTERNAL, "the classifier failed") from None
            except (RayError, RayServeException) as error:
                logger.warning("lost the classifier: %s", error)
            else:
                return np.stack(rows)
        raise RequestError(
            ErrorCode.NOT_READY,
            "the worker was lost before the picture was classified; try again",
            retry_after=RETRY_AFTER,
        )
