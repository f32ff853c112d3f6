"""The weight loader: brings the model and the LoRAs into memory that a waiting job lacks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from time import monotonic

from contract.errors import ErrorCode, RequestError
from contract.observer import WeightKind
from contract.request import GenerationRequest, LoraUse
from engine.job import Failures, Job
from engine.lora.adapter import Adapter
from engine.pipelines.base import DiffusionModel
from engine.weights.cache import WeightCache


class WeightLoader:
    """Loads for the job that has waited longest for a model, and for a LoRA.

    A model and a LoRA may be loaded at the same time, the LoRA for a model that is there. All that
    a job waits for is protected until it has the rest; what others use drains. So jobs whose LoRAs
    do not fit into memory together take turns, and no two of them wait for each other.

    What a job needs is that of its current segment.

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
        # The job that waits longest for something, and since when (``time.monotonic()``).
        self._first: tuple[Job, float] | None = None

    def check(self, request: GenerationRequest) -> None:
        """Raise ``RequestError`` if this could never be had. Safe from any thread."""
        for model in {request.model, *(segment.model for segment in request.segments)}:
            if model not in self._models:
                raise RequestError(
                    ErrorCode.NOT_FOUND, f"model: {model!r} is not loaded", field="model"
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
        """Whether all that a waiting job needs is in memory, and takes new jobs."""
        return self._models.available(job.model) and not self._lacking(job)

    def model(self, job: Job) -> DiffusionModel:
        """The model of a job that is ready or in progress."""
        return self._models.use(job.model)

    def adapters(self, jobs: Iterable[Job]) -> Mapping[str, Adapter]:
        """The LoRAs of jobs that are ready, by their tags."""
        return {tag: self._loras.use(tag) for job in jobs for tag in job.tags}

    def bring(
        self,
        waiting: Iterable[Job],
        in_progress: Sequence[Job],
        admissible: Callable[[], Sequence[Job]],
        when_loaded: Callable[[], None],
    ) -> Failures:
        """Begin to load a model and a LoRA, each for the first waiting job that lacks one.

        Args:
            waiting: in their order.
            in_progress: the jobs whose weights are in use.
            admissible: the waiting jobs that could be admitted now.
            when_loaded: called from another thread when it is time to call ``collect``.

        Returns:
            The jobs that cannot be helped for now, and why.
        """
        failures: Failures = []
        # Jobs in front have all they need, and only wait for room in the passes: it stays.
        models: set[str] = set()
        tags: set[str] = set()
        first: Job | None = None
        defer = wants_model = wants_lora = False
        # Most of those who wait need the same.
        ready: dict[tuple[str, tuple[str, ...]], bool] = {}
        for job in waiting:
            try:
                models.add(job.model)
                tags.update(job.tags)
                needs = job.model, job.tags
                if needs not in ready:
                    ready[needs] = self.ready(job)
                if ready[needs]:
                    continue
                if refusal := self._refusal(job):
                    failures.append((job, refusal))
                    continue
                if first is None:
                    first, defer = job, self._others_come_first(job, admissible)
                if not self._models.available(job.model):
                    if not wants_model:
                        wants_model = True
                        leased = {each.model for each in in_progress}
                        self._models.request(
                            job.model, when_loaded, leased=leased, protected=models, defer=defer
                        )
                elif not wants_lora:
                    wants_lora = True
                    self._request_lora(job, in_progress, tags, when_loaded, defer=defer)
            except Exception as error:
                # Whatever is wrong with its sources, the others' weights come all the same.
                failures.append((job, error))
        if first is None:
            self._first = None
        return failures

    def close(self) -> None:
        """Wait for what is being loaded."""
        self._models.close()
        self._loras.close()

    def _request_lora(
        self,
        job: Job,
        in_progress: Sequence[Job],
        protected: Collection[str],
        when_loaded: Callable[[], None],
        *,
        defer: bool,
    ) -> None:
        lacking = self._lacking(job)[0]
        leased = {tag for each in in_progress for tag in each.tags}
        model = self._models.peek(job.model)
        try:
            self._loras.request(
                lacking, when_loaded, model, leased=leased, protected=protected, defer=defer
            )
        except KeyError:
            # It was removed after the request had come.
            raise _unknown(lacking) from None

    def _others_come_first(self, first: Job, admissible: Callable[[], Sequence[Job]]) -> bool:
        """Whether jobs that could be admitted now had come when ``first`` began to wait: what they
        use does not drain before they are."""
        if self._first is None or self._first[0] is not first:
            self._first = (first, monotonic())
        _, since = self._first
        return any(job.submitted_at < since for job in admissible())

    def _lacking(self, job: Job) -> list[str]:
        """The tags of the job's LoRAs that are not available."""
        return [tag for tag in job.tags if not self._loras.available(tag)]

    def _refusal(self, job: Job) -> RequestError | None:
        """Why a job does not get what it lacks."""
        model = job.model
        if not self._models.available(model) and (wait := self._models.retry_after(model)):
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


def _unknown(tag: str) -> RequestError:
    """It was never there, or was removed."""
    return RequestError(
        ErrorCode.NOT_FOUND, f"loras: there is no {LoraUse(tag).name!r}", field="loras"
    )
