"""What jobs need in memory before they can run: their model, and its LoRAs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic

from contract.errors import ErrorCode, RequestError
from contract.observer import WeightKind
from contract.request import GenerationRequest, LoraUse
from engine.job import Job
from engine.lora.adapter import Adapter
from engine.pipelines.base import DiffusionModel
from engine.weights.cache import WeightCache


class WeightLoader:
    """Sees to it that whoever waits longest for a model or a LoRA gets it.

    A model and a LoRA may be loaded at the same time, the LoRA for a model that is there. All that
    a job waits for is kept until it has the rest; what others use makes room when they are done. So
    jobs whose LoRAs do not fit into memory together take turns, and none waits for another one that
    waits for it.

    Args:
        models: every model that is served.
        loras: the LoRAs by their tags; None where there can be none.
    """

    def __init__(
        self, models: WeightCache[DiffusionModel], loras: WeightCache[Adapter] | None
    ) -> None:
        self._models = models
        self._takes_loras = loras is not None
        self._loras = WeightCache[Adapter]({}, kind=WeightKind.LORA) if loras is None else loras
        # Who waits longest for something, and since when (``time.monotonic()``).
        self._first: tuple[Job, float] | None = None

    def check(self, request: GenerationRequest) -> None:
        """Raise ``RequestError`` if this could never be had. Safe from any thread."""
        if request.model not in self._models:
            raise RequestError(
                ErrorCode.NOT_FOUND, f"model: {request.model!r} is not loaded", field="model"
            )
        if not request.loras:
            return
        if not self._takes_loras:
            raise RequestError(
                ErrorCode.INVALID_REQUEST,
                "loras: there can be none here, as the denoiser is compiled",
                field="loras",
            )
        try:
            memory = self._loras.memory(use.tag for use in request.loras)
        except KeyError as unknown:
            raise _unknown(str(unknown.args[0])) from None
        if self._loras.budget is not None and memory > self._loras.budget:
            raise RequestError(
                ErrorCode.OUT_OF_RANGE,
                f"loras must take at most {self._loras.budget} bytes of memory together, these "
                f"take {memory}",
                field="loras",
            )

    def collect(self) -> None:
        """Take over what was loaded."""
        self._models.collect()
        self._loras.collect()

    def ready(self, job: Job) -> bool:
        """Whether all that a waiting job needs is there."""
        return self._models.get(job.request.model) is not None and not self._lacking(job)

    def family(self, job: Job) -> DiffusionModel:
        """The model of a job that is ready or in progress."""
        return self._models.use(job.request.model)

    def adapters(self, jobs: Iterable[Job]) -> Mapping[str, Adapter]:
        """The LoRAs of jobs that are ready, by their tags."""
        return {tag: self._loras.use(tag) for job in jobs for tag in _tags(job)}

    def bring(
        self,
        waiting: Iterable[Job],
        in_progress: Sequence[Job],
        chosen: Sequence[Job],
        when_loaded: Callable[[], None],
    ) -> list[tuple[Job, RequestError]]:
        """Begin to load a model and a LoRA, each for the first of those who wait that lacks one.

        Args:
            waiting: in their order.
            in_progress: whose supplies are in use.
            chosen: are about to be in progress, or have just come to be. What they use does not
                have to leave for someone who found it lacking only after they had come.
            when_loaded: called from another thread when it is time to call ``collect``.

        Returns:
            Those of them who cannot be helped for now, and why.
        """
        refused: list[tuple[Job, RequestError]] = []
        # Those in front have all they need, and only wait for room in the passes.
        models: set[str] = set()
        tags: set[str] = set()
        users = [*in_progress, *chosen]
        first: Job | None = None
        patient = asked_for_model = asked_for_lora = False
        for job in waiting:
            if refusal := self._refusal(job):
                refused.append((job, refusal))
                continue
            models.add(job.request.model)
            tags.update(_tags(job))
            if self.ready(job):
                continue
            if first is None:
                first = job
                patient = self._came_before(chosen, first)
            family = self._models.get(job.request.model)
            if family is None and not asked_for_model:
                busy = {each.request.model for each in users}
                self._models.request(
                    job.request.model, when_loaded, busy=busy, kept=models, patient=patient
                )
                asked_for_model = True
            elif family is not None and not asked_for_lora:
                busy = {tag for each in users for tag in _tags(each)}
                lacking = self._lacking(job)[0]
                try:
                    self._loras.request(
                        lacking, when_loaded, family, busy=busy, kept=tags, patient=patient
                    )
                    asked_for_lora = True
                except KeyError:
                    # It was removed after the request had come.
                    refused.append((job, _unknown(lacking)))
        if first is None:
            self._first = None
        return refused

    def close(self) -> None:
        """Wait for what is being loaded."""
        self._models.close()
        self._loras.close()

    def _came_before(self, chosen: Iterable[Job], first: Job) -> bool:
        """Whether any of the chosen ones had come when ``first`` began to wait."""
        if self._first is None or self._first[0] is not first:
            self._first = (first, monotonic())
        _, since = self._first
        return any(job.submitted_at < since for job in chosen)

    def _lacking(self, job: Job) -> list[str]:
        """The tags of the job's LoRAs that are not there."""
        return [tag for tag in _tags(job) if self._loras.get(tag) is None]

    def _refusal(self, job: Job) -> RequestError | None:
        """Why a job does not get what it lacks."""
        model = job.request.model
        if self._models.get(model) is None and (wait := self._models.retry_after(model)):
            return RequestError(
                ErrorCode.NOT_READY, f"model: {model} could not be loaded", retry_after=wait
            )
        for tag in self._lacking(job):
            if wait := self._loras.retry_after(tag):
                return RequestError(
                    ErrorCode.NOT_READY,
                    f"loras: {LoraUse(tag).name} could not be loaded",
                    field="loras",
                    retry_after=wait,
                )
        return None


def _tags(job: Job) -> list[str]:
    return [use.tag for use in job.request.loras]


def _unknown(tag: str) -> RequestError:
    """It was never there, or was removed."""
    return RequestError(
        ErrorCode.NOT_FOUND, f"loras: there is no {LoraUse(tag).name!r}", field="loras"
    )
