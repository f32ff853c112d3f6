"""The models of the protocol: the served ones, the fine-tuned ones and the classifier."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from api.backend import ServedModel
from api.classifier import BoundedClassifier
from api.errors import shown
from api.health import not_ready
from api.protocols.kserve.inputs import CLASSIFICATION, GENERATION, for_model
from api.protocols.kserve.responses import (
    ConfigTensor,
    ModelConfiguration,
    ModelMetadata,
    TensorMetadata,
)
from api.protocols.kserve.tensors import BYTES, DATATYPES, shape_of
from api.protocols.native.kinds import Kind
from api.served_models import ModelChoice, ServedModels
from contract.errors import ErrorCode, RequestError
from contract.model_state import Availability, ModelState

# The classifier has a name among the models here; ``embedded`` is that of one of them.
CLASSIFIER: Final = "classifier"
_READY: Final = ModelState(Availability.READY)
_NOT_THERE: Final = ModelState(Availability.UNAVAILABLE, "its worker is not there")
# Of what does not change while it is served.
_FIRST: Final = "1"
_PLATFORM: Final = "stable_diffusion"
_CONFIGURED: Final = {"BYTES": "TYPE_STRING"}

PICTURE_OUTPUTS: Final = (
    TensorMetadata(name="images", datatype=BYTES, shape=[-1]),
    TensorMetadata(name="seeds", datatype="INT64", shape=[-1]),
    TensorMetadata(name="prompts", datatype=BYTES, shape=[-1]),
    TensorMetadata(name="warnings", datatype=BYTES, shape=[-1]),
    TensorMetadata(name="screening", datatype=BYTES, shape=[-1]),
    TensorMetadata(name="pixels", datatype="UINT8", shape=[-1, -1, -1, 3]),
)
LABEL_OUTPUTS: Final = (
    TensorMetadata(name="labels", datatype=BYTES, shape=[-1]),
    TensorMetadata(name="scores", datatype="FP32", shape=[-1]),
)


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model by its name in the path.

    Attributes:
        choice: None for the classifier.
    """

    name: str
    choice: ModelChoice | None = None

    @property
    def version(self) -> str:
        """That of the store for a LoRA, which may be trained again."""
        if self.choice is None or self.choice.lora is None:
            return _FIRST
        return self.choice.lora.tag.partition(":")[2]

    @property
    def known_inputs(self) -> Mapping[str, Kind]:
        """The inputs that there are; those that it does not take, it is to say itself."""
        return CLASSIFICATION if self.choice is None else GENERATION["inpaint"]

    @property
    def inputs(self) -> dict[str, Kind]:
        """The inputs that it takes."""
        if self.choice is None:
            return dict(CLASSIFICATION)
        return for_model(self.choice.model.tasks, self.choice.model.fields)

    @property
    def outputs(self) -> tuple[TensorMetadata, ...]:
        """The outputs that it makes."""
        return LABEL_OUTPUTS if self.choice is None else PICTURE_OUTPUTS

    @property
    def metadata(self) -> ModelMetadata:
        """Its description."""
        return ModelMetadata(
            name=self.name,
            versions=[self.version],
            platform=_PLATFORM,
            inputs=[
                TensorMetadata(name=name, datatype=DATATYPES[kind][0], shape=shape_of(kind))
                for name, kind in self.inputs.items()
            ],
            outputs=list(self.outputs),
        )

    @property
    def configuration(self) -> ModelConfiguration:
        """The same in Triton's words."""
        metadata = self.metadata
        return ModelConfiguration(
            name=self.name,
            platform=_PLATFORM,
            backend="python",
            max_batch_size=0,
            input=[
                _configured(tensor, optional=index > 0)
                for index, tensor in enumerate(metadata.inputs)
            ],
            output=[_configured(tensor) for tensor in metadata.outputs],
        )


class Models:
    """Finds models, knows whether they can be used, and loads and unloads them.

    Args:
        served: the served models.
        classifier: the classifier, if there is one.
        ready: whether requests are served at all.
    """

    def __init__(
        self,
        served: ServedModels,
        classifier: BoundedClassifier | None,
        ready: Callable[[], Awaitable[bool]],
    ) -> None:
        self._served = served
        self._classifier = classifier
        self._ready = ready

    async def all(self) -> list[NamedModel]:
        """Every model that may be named at this moment; the default first."""
        await self._served.refresh()
        return self._known()

    async def find(self, name: str, version: str | None = None) -> NamedModel:
        """The model of a path. Raises ``RequestError``: NOT_FOUND."""
        name = self._served.resolve(name)
        models = self._known()
        if name not in {model.name for model in models}:
            # Other requests need not wait for a look at the store.
            models = await self.all()
        for model in models:
            if model.name == name:
                if version not in {None, model.version}:
                    raise _not_found(
                        f"{name} has the version {model.version}, and no {shown(version)}"
                    )
                return model
        raise _not_found(f"there is no model {shown(name)}; GET /v1/models lists them")

    async def states(self, models: Sequence[NamedModel]) -> list[ModelState]:
        """The states of models, in their order: of a LoRA, that of its base."""
        served = await self._served.states()
        classifies = self._classifier is not None and await self._classifier.ready()
        classifier = _READY if classifies else _NOT_THERE
        return [
            classifier if model.choice is None else served.get(model.choice.model.name, _NOT_THERE)
            for model in models
        ]

    async def check_ready(self, model: NamedModel) -> None:
        """Raise ``RequestError`` where requests to a model are not served: NOT_FOUND where it was
        unloaded on request, else NOT_READY."""
        (state,) = await self.states([model])
        if state.unloaded:
            raise _not_found(f"{model.name} is {state.reason}")
        if not state.ready:
            raise not_ready(model.name, state.reason)

    async def check_service(self) -> None:
        """Raise ``RequestError(NOT_READY)`` where no requests are served."""
        if not await self._ready():
            raise not_ready("the service")

    async def load(self, model: NamedModel) -> None:
        """Bring a model into memory. Raises ``RequestError``: see ``api.backend.Backend.load``."""
        await self._served.load(_own(model).name)

    async def unload(self, model: NamedModel) -> None:
        """Take no more requests for a model. Raises ``RequestError``: see ``Backend.unload``."""
        await self._served.unload(_own(model).name)

    def _known(self) -> list[NamedModel]:
        choices = self._served.snapshot().choices()
        models = {choice.name: NamedModel(choice.name, choice) for choice in choices}
        if self._classifier is not None:
            models[CLASSIFIER] = NamedModel(CLASSIFIER)
        return list(models.values())


def _own(model: NamedModel) -> ServedModel:
    """The model whose weights come and go alone."""
    if model.choice is None:
        reason = f"{model.name} is small, and stays in memory"
    elif model.choice.lora is not None:
        reason = (
            f"{model.name} is a LoRA, which comes and goes with the requests for it: load or "
            f"unload its base, {model.choice.model.name}"
        )
    else:
        return model.choice.model
    raise RequestError(ErrorCode.INVALID_REQUEST, reason, field="model")


def _configured(tensor: TensorMetadata, optional: bool = False) -> ConfigTensor:
    data_type = _CONFIGURED.get(tensor.datatype, f"TYPE_{tensor.datatype}")
    return ConfigTensor(name=tensor.name, data_type=data_type, dims=tensor.shape, optional=optional)


def _not_found(message: str) -> RequestError:
    return RequestError(ErrorCode.NOT_FOUND, message, field="model")
