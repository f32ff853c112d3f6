"""The models of the protocol: the served ones, the fine-tuned ones and the classifier."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from api.classifier import BoundedClassifier
from api.errors import shown
from api.health import not_ready
from api.protocols.kserve.inputs import CLASSIFICATION, GENERATION, Kind, for_model
from api.protocols.kserve.responses import (
    ConfigTensor,
    ModelConfiguration,
    ModelMetadata,
    TensorMetadata,
)
from api.protocols.kserve.tensors import BYTES, DATATYPES, shape_of
from api.served_models import ModelChoice, ServedModels
from contract.errors import ErrorCode, RequestError

# The classifier has a name among the models here; ``embedded`` is that of one of them.
CLASSIFIER: Final = "classifier"
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
    """Finds models, and knows whether they can be used.

    Args:
        served: the served models.
        classifier: the classifier, if there is one.
        ready: whether the models are loaded.
    """

    def __init__(
        self,
        served: ServedModels,
        classifier: BoundedClassifier | None,
        ready: Callable[[], Awaitable[bool]],
    ) -> None:
        self._served = served
        self._has_classifier = classifier is not None
        self.ready = ready

    async def all(self) -> list[NamedModel]:
        """Every model that may be named at this moment; the default first."""
        await self._served.refresh()
        return self._known()

    async def find(self, name: str, version: str | None = None) -> NamedModel:
        """The model of a path. Raises ``RequestError``: NOT_FOUND."""
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

    async def check_ready(self, what: str) -> None:
        """Raise ``RequestError(NOT_READY)`` where requests to a model, or to any, are refused.

        Args:
            what: the name of the model, or that of all.
        """
        if not await self.ready():
            raise not_ready(what)

    def _known(self) -> list[NamedModel]:
        choices = self._served.snapshot().choices()
        models = {choice.name: NamedModel(choice.name, choice) for choice in choices}
        if self._has_classifier:
            models[CLASSIFIER] = NamedModel(CLASSIFIER)
        return list(models.values())


def _configured(tensor: TensorMetadata, optional: bool = False) -> ConfigTensor:
    data_type = _CONFIGURED.get(tensor.datatype, f"TYPE_{tensor.datatype}")
    return ConfigTensor(name=tensor.name, data_type=data_type, dims=tensor.shape, optional=optional)


def _not_found(message: str) -> RequestError:
    return RequestError(ErrorCode.NOT_FOUND, message, field="model")
