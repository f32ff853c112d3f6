"""The Runnable around the diffusion engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import bentoml.legacy

# A Bento's folder is on sys.path only while its service is imported: a package has to be imported
# by then for its modules to be found later, in ``__init__``.
import engine  # noqa: F401
from assembly import environment
from assembly.shutdown import Shutdown
from contract.errors import RequestError
from contract.events import Failed
from contract.model_state import ModelState
from contract.request import GenerationRequest
from contract.tenant_load import TenantLoad
from models.catalog import ModelEntry
from models.placement import Placement
from runners.wire import DONE, Action, to_line
from settings import Settings


class StableDiffusionRunnable(bentoml.legacy.Runnable):
    """Serves the given models from one device; constructed when they have made a picture each.

    One process runs any number of requests at once: ``generate`` is an async generator, which
    BentoML does not limit to one call at a time, and the engine batches their denoising steps.
    """

    SUPPORTED_RESOURCES = ("nvidia.com/gpu", "cpu")
    SUPPORTS_CPU_MULTI_THREADING = True

    def __init__(
        self, *, settings: Settings, entries: tuple[ModelEntry, ...], placement: Placement
    ) -> None:
        environment.prepare()
        # Imported here, so that the API and supervisor processes stay without torch.
        from assembly.metrics import PrometheusObserver
        from assembly.worker import Worker

        self._worker = Worker(settings, entries, placement, PrometheusObserver())
        # A Runnable has no hook for the end of its process; BentoML makes it in the event loop of
        # the process's server, whose signal handlers are installed by then.
        Shutdown(self._worker.close, settings.drain).install()

    @bentoml.legacy.Runnable.method(batchable=False)
    def max_pixels(self) -> dict[str, int]:
        """See ``Engine.max_pixels``."""
        return dict(self._worker.max_pixels)

    @bentoml.legacy.Runnable.method(batchable=False)
    def states(self) -> dict[str, ModelState]:
        """See ``Worker.states``."""
        return self._worker.states

    @bentoml.legacy.Runnable.method(batchable=False)
    def tenants(self) -> dict[str, TenantLoad]:
        """See ``Engine.tenants``."""
        return self._worker.tenants

    @bentoml.legacy.Runnable.method(batchable=False)
    async def control(self, action: Action, model: str) -> AsyncGenerator[str, None]:
        """Load or unload a model. Yields ``runners.wire.DONE``, or how it failed as a line.

        A generator, as other methods run one at a time, and a load may take minutes.
        """
        try:
            if action == "load":
                await self._worker.load(model)
            else:
                await self._worker.unload(model)
        except RequestError as error:
            yield to_line(Failed.from_error(error))
        else:
            yield DONE

    @bentoml.legacy.Runnable.method(batchable=False)
    async def generate(self, request: GenerationRequest) -> AsyncGenerator[str, None]:
        """Run one request; yields its events as lines (see ``runners.wire``).

        Raises nothing, as BentoML would only break the connection: errors are events too.
        Closing the generator, which BentoML does when the client is gone, cancels the job.
        """
        async with aclosing(self._worker.generate(request)) as events:
            async for event in events:
                yield to_line(event)


def build_runner(
    settings: Settings, entries: tuple[ModelEntry, ...], placement: Placement
) -> bentoml.legacy.Runner:
    """The runner of the given models, named by its precision: ``stable_diffusion_fp32``."""
    return bentoml.legacy.Runner(
        StableDiffusionRunnable,
        name=f"stable_diffusion_{placement.precision}",
        runnable_init_params={
            "settings": settings,
            "entries": entries,
            "placement": placement,
        },
    )
