"""The Runnable around the image classifier, and its handle as the API's classifier."""

from __future__ import annotations

import logging
from typing import Any

import aiohttp
import bentoml.legacy
import numpy as np
import numpy.typing as npt
from bentoml.exceptions import BentoMLException

from assembly import environment
from assembly.classifier import NetworkClassifier
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
        from assembly.network import ClassifierNetwork

        self._network = ClassifierNetwork(vit)

    @bentoml.legacy.Runnable.method(batchable=True, batch_dim=0)
    def scores(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See ``assembly.network.ClassifierNetwork.scores``."""
        return self._network.scores(pixels)


def build_classifier_runner(vit: ViT) -> bentoml.legacy.Runner:
    """The runner ``classifier``."""
    return bentoml.legacy.Runner(
        ClassifierRunnable, name="classifier", runnable_init_params={"vit": vit}
    )


class RunnerClassifier(NetworkClassifier):
    """The network behind the handle of a ``ClassifierRunnable``.

    Args:
        runner: the handle.
        vit: what the runner was started with.
        deadline: seconds that a picture may take.
    """

    def __init__(self, runner: Any, vit: ViT, deadline: float) -> None:
        super().__init__(vit, deadline)
        self._runner = runner

    async def ready(self) -> bool:
        return bool(await self._runner.runner_handle_is_ready())

    async def _run(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        try:
            rows: npt.NDArray[np.float32] = await self._runner.scores.async_run(batch)
        except (BentoMLException, aiohttp.ClientError) as error:
            logger.error("lost the classifier: %s", error)
            raise RequestError(
                ErrorCode.NOT_READY,
                "the worker was lost before the picture was classified; try again",
                retry_after=RESTART_SECONDS,
            ) from None
        return rows
