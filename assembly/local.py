"""The engine and the classifier in the process of the API, for a host without other processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from api.backend import ServedLora, ServedModel
from assembly.backend import StoreBackend
from assembly.classifier import NetworkClassifier
from assembly.network import ClassifierNetwork
from assembly.snapshot import Snapshot
from assembly.worker import Worker
from contract.events import Event
from contract.model_state import ModelState
from contract.request import GenerationRequest
from contract.tenant_load import TenantLoad
from models.vit import ViT


class LocalBackend(StoreBackend):
    """Implements ``api.backend.Backend`` over the worker of this process.

    Args:
        worker: what makes the pictures.
        models: what it was started with.
        loras: those of the store.
    """

    def __init__(
        self,
        worker: Worker,
        models: Sequence[ServedModel],
        loras: Snapshot[Sequence[ServedLora]],
    ) -> None:
        self._worker = worker
        super().__init__(models, loras)
        self._limit(worker.max_pixels)

    async def ready(self) -> bool:
        return self._worker.ready

    async def learn(self) -> None:
        """It is known from the start."""

    async def states(self) -> Mapping[str, ModelState]:
        return self._worker.states

    async def tenants(self) -> Mapping[str, TenantLoad]:
        return self._worker.tenants

    async def load(self, name: str) -> None:
        await self._worker.load(name)

    async def unload(self, name: str) -> None:
        await self._worker.unload(name)

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        return self._worker.generate(request)

    async def close(self, seconds: float) -> None:
        """See ``Worker.close``."""
        await self._worker.close(seconds)


class LocalClassifier(NetworkClassifier):
    """The network in a thread of this process, one picture after the other.

    Args:
        vit: what to load.
        deadline: seconds that a picture may take.

    Raises:
        LoadError: the weights do not make a network.
    """

    def __init__(self, vit: ViT, deadline: float) -> None:
        super().__init__(vit, deadline)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="classifier")
        # In its thread: the number of torch's threads is set where the network is made.
        self._network = self._thread.submit(ClassifierNetwork, vit).result()

    async def ready(self) -> bool:
        return True

    async def _run(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._network.scores, batch)
