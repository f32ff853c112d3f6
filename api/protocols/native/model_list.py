"""The list of served models, as ``GET /models`` has it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, get_args

from pydantic import BaseModel, Field

from api.served_models import ModelChoice, ModelSnapshot
from api.version import VERSION
from contract.request import OutputFormat
from contract.screening import Action, CheckName
from models.architectures import SCHEDULERS, RequestField
from models.catalog import Defaults, Task
from models.quantization import Part, Scheme
from models.vit import ViT
from settings import Settings


class FineTuning(BaseModel):
    """The origin of a fine-tuned model."""

    base: str = Field(description="The model that it was tuned from")
    base_revision: str = Field(description="The base's weights at that time")
    subject_token: str | None = Field(description="The word that stands for its subject")
    class_name: str | None = Field(description="The class of its subject")
    steps: int | None = Field(description="Steps of training")
    data_hash: str | None = Field(description="Hash of the training pictures")
    created: datetime
    size: int = Field(description="Bytes of its weights on the disk")


class ModelInfo(BaseModel):
    """A served model."""

    name: str
    kind: Literal["base", "full", "lora"] = Field(
        description="`full` and `lora` are fine-tuned; those of the kind `lora` may be in `loras` "
        "too, with their `base` as the model"
    )
    default: bool = Field(description="Whether requests without `model` go to it")
    family: str
    precision: str
    quantized: dict[Part, Scheme] = Field(
        description="The parts whose weights are quantised, and how; empty where none is"
    )
    description: str
    licence: str
    tasks: list[Task] = Field(description="The tasks that it can do")
    multiple_of: int = Field(description="Width and height must be multiples of it")
    max_pixels: int = Field(description="width x height of a picture with it")
    defaults: Defaults = Field(
        description="For fields that a request leaves out, of those that the model takes; "
        "`strength` is that of img2img"
    )
    fields: list[str] = Field(
        description="The fields of a request that it takes and other models may not"
    )
    refiner: str | None = Field(
        description="The model that finishes its pictures where `refiner` names no other one"
    )
    fine_tuning: FineTuning | None = Field(description="null for a base")
    screening: dict[CheckName, Action] = Field(
        description="The action on a picture that a check finds something in"
    )


class ModelLimits(BaseModel):
    """The limits that all models share."""

    min_side: int
    max_side: int
    max_pixels: int = Field(description="width x height; a model may do less")
    max_steps: int
    max_images: int = Field(description="Pictures per request")
    max_loras: int = Field(description="Elements of `loras`")
    max_prompt_chars: int
    max_body_bytes: int
    max_json_bytes: int = Field(description="Bytes of a JSON body, and of the part `data`")
    max_input_pixels: int = Field(description="width x height of an input picture")


class ClassifierInfo(BaseModel):
    """The image classifier."""

    name: str
    labels: int = Field(description="Number of labels")
    width: int = Field(description="Pixels that pictures are resized to")
    height: int


class ModelList(BaseModel):
    """The served models."""

    version: str = Field(description="Of the service")
    models: list[ModelInfo]
    classifier: ClassifierInfo | None = Field(description="null where none is served")
    limits: ModelLimits
    schedulers: list[str]
    output_formats: list[str]

    def as_json(self) -> str:
        """Without the defaults of fields that a model does not take."""
        others = frozenset(get_args(RequestField))
        inapplicable = {
            index: {"defaults": set(others.difference(model.fields))}
            for index, model in enumerate(self.models)
        }
        return self.model_dump_json(exclude={"models": inapplicable})


def model_list(served: ModelSnapshot, vit: ViT | None, settings: Settings) -> ModelList:
    """Describe the models, the classifier and the limits."""
    limits = ModelLimits(
        min_side=settings.min_side,
        max_side=settings.max_side,
        max_pixels=settings.most_pixels,
        max_steps=settings.max_steps,
        max_images=settings.max_images,
        max_loras=settings.max_loras,
        max_prompt_chars=settings.max_prompt_chars,
        max_body_bytes=settings.max_body_bytes,
        max_json_bytes=settings.max_json_bytes,
        max_input_pixels=settings.max_input_pixels,
    )
    return ModelList(
        version=VERSION,
        models=[_model_info(served, choice) for choice in served.choices()],
        classifier=None
        if vit is None
        else ClassifierInfo(
            name=vit.name, labels=len(vit.labels), width=vit.width, height=vit.height
        ),
        limits=limits,
        schedulers=list(SCHEDULERS),
        output_formats=[file_format.value for file_format in OutputFormat],
    )


def _model_info(served: ModelSnapshot, choice: ModelChoice) -> ModelInfo:
    model, provenance = choice.model, choice.provenance
    return ModelInfo(
        name=choice.name,
        kind=choice.kind,
        default=choice.lora is None and model.name == served.models[0].name,
        family=model.family,
        precision=model.precision,
        quantized=dict(model.quantized),
        description=model.description if provenance is None else provenance.description,
        licence=model.licence if provenance is None else provenance.licence,
        tasks=list(model.tasks),
        multiple_of=model.multiple_of,
        max_pixels=model.max_pixels,
        defaults=model.defaults,
        fields=sorted(model.fields),
        refiner=model.refiner,
        screening=dict(model.screening),
        fine_tuning=None
        if provenance is None
        else FineTuning.model_validate(
            {**provenance.model_dump(exclude={"description", "licence"}), "size": choice.size}
        ),
    )
