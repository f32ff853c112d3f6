"""What the service serves: the models, their defaults, the limits, as ``GET /models`` has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

AUTO = "auto"
_WITHHOLDING = ("blur", "reject")


@dataclass(frozen=True, slots=True)
class Model:
    """A model.

    Attributes:
        kind: ``base``, ``full`` or ``lora``.
        tasks: of ``txt2img``, ``img2img``, ``inpaint``.
        defaults: of the fields that a request leaves out, such as ``width`` and ``scheduler``.
        fields: what it takes and other models may not, such as ``refiner``.
        refiner: the model that finishes its pictures by default.
        base: the model that it was tuned from; None of a base.
        subject_token: the word in a prompt that stands for its subject.
        screening: the action (``off``, ``flag``, ``blur``, ``reject``) of each check.
    """

    name: str
    kind: str
    is_default: bool
    family: str
    description: str
    tasks: tuple[str, ...]
    multiple_of: int
    max_pixels: int
    defaults: Mapping[str, Any]
    fields: frozenset[str]
    refiner: str | None
    base: str | None
    subject_token: str | None
    fine_tuning: Mapping[str, Any] | None
    screening: Mapping[str, str]

    @property
    def shows_previews(self) -> bool:
        """Whether unfinished pictures may be shown: not where finished ones may be withheld."""
        return not any(action in _WITHHOLDING for action in self.screening.values())

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """From an element of ``models``."""
        tuning = body.get("fine_tuning")
        return cls(
            name=body["name"],
            kind=body["kind"],
            is_default=body["default"],
            family=body["family"],
            description=body["description"],
            tasks=tuple(body["tasks"]),
            multiple_of=body["multiple_of"],
            max_pixels=body["max_pixels"],
            defaults=body["defaults"],
            fields=frozenset(body["fields"]),
            refiner=body["refiner"],
            base=None if tuning is None else tuning["base"],
            subject_token=None if tuning is None else tuning["subject_token"],
            fine_tuning=tuning,
            screening=body["screening"],
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that all models share; see the API's documentation."""

    min_side: int
    max_side: int
    max_pixels: int
    max_steps: int
    max_images: int
    max_loras: int
    max_prompt_chars: int
    max_body_bytes: int
    max_input_pixels: int


@dataclass(frozen=True, slots=True)
class Served:
    """What is served.

    Attributes:
        labels: how many the classifier tells apart; 0 where none is served.
    """

    version: str
    models: tuple[Model, ...]
    labels: int
    limits: Limits
    schedulers: tuple[str, ...]
    output_formats: tuple[str, ...]

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """From the body of ``GET /models``."""
        classifier = body["classifier"]
        return cls(
            version=body["version"],
            models=tuple(map(Model.of, body["models"])),
            labels=0 if classifier is None else classifier["labels"],
            limits=Limits(**{name: body["limits"][name] for name in Limits.__slots__}),
            schedulers=tuple(body["schedulers"]),
            output_formats=tuple(body["output_formats"]),
        )

    @property
    def default(self) -> Model:
        """The model of requests that name none."""
        return next((model for model in self.models if model.is_default), self.models[0])

    def model(self, name: str | None) -> Model:
        """The model of that name; the default one where there is none, as for ``auto``."""
        return next((model for model in self.models if model.name == name), self.default)

    def able(self, task: str) -> Sequence[Model]:
        """The models that can do the task, the default first."""
        return [model for model in self.models if task in model.tasks]

    def loras(self, model: Model) -> Sequence[Model]:
        """What may be in ``loras`` beside that model."""
        base = model.base if model.kind == "lora" else model.name
        return [
            other
            for other in self.models
            if other.kind == "lora" and other.base == base and other.name != model.name
        ]

    def refiners(self, model: Model) -> Sequence[str]:
        """The models that may finish its pictures, its own first; none where it takes none."""
        if "refiner" not in model.fields:
            return []
        able = [
            other.name
            for other in self.models
            if other.family == model.family and "aesthetic_score" in other.fields
        ]
        return sorted(able, key=lambda name: name != model.refiner)
