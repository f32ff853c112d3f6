"""The fields of a request that only some models take: further prompts, numbers that SDXL is told, a
refiner, skip-layer guidance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from api.backend import ServedModel
from api.errors import shown
from api.limits import Constraint, OneOf, check_interval
from api.parameters import GenerationParameters, ParameterError, RefinerParameter
from contract.errors import ErrorCode
from contract.request import Segment
from models.architectures import ENSEMBLE_SCHEDULERS, SKIP_FIELDS, RequestField

# As the authors of SDXL divide the work: the last fifth of the noise levels.
SWITCH_AT: Final = 0.8
_OF_THE_REFINER: Final = ("switch_at", "aesthetic_score", "negative_aesthetic_score")


def model_fields(
    parameters: GenerationParameters,
    model: ServedModel,
    models: Sequence[ServedModel],
    scheduler: str,
    constraints: Mapping[str, Constraint],
) -> dict[str, Any]:
    """What they are in a ``GenerationRequest``; those that are absent have their defaults there.

    Args:
        parameters: otherwise checked.
        model: the one that was chosen.
        models: all that are served.
        scheduler: the sampler that was chosen.
        constraints: by the fields' neutral names.

    Raises:
        ParameterError: the model does not take a field, or a value is out of range.
    """
    given = {
        name: value
        for name in get_args(RequestField)
        if (value := getattr(parameters, name)) is not None
    }
    for name, value in given.items():
        if name not in model.fields:
            raise _not_taken(name, value, model)
        if name in constraints:
            constraints[name].check(name, value)
    for further in ("negative_prompt_2", "negative_prompt_3"):
        if further in given and parameters.negative_prompt is None:
            raise _beside_nothing(further)
    if "skip_layers" in model.fields:
        given |= _skip_layers(parameters, model)
    refiner: RefinerParameter | None = given.pop("refiner", None)
    for name in ("original_size", "crop"):
        if name in given:
            given[name] = tuple(given[name])
    if refiner is None:
        return given
    return {**given, **_refined(refiner, model, models, scheduler, constraints)}


def _skip_layers(parameters: GenerationParameters, model: ServedModel) -> dict[str, Any]:
    """Skip-layer guidance as given, or else as the model has it by default."""
    if parameters.task != "txt2img":
        if not parameters.skip_layers:
            return {}
        raise ParameterError(
            ErrorCode.OUT_OF_RANGE,
            "skip_layers",
            lambda name: (
                f"{name('skip_layers')} must be absent for {parameters.task}, got "
                + shown(list(parameters.skip_layers or ()))
            ),
        )
    told: dict[str, Any] = {
        name: getattr(model.defaults, name)
        if getattr(parameters, name) is None
        else getattr(parameters, name)
        for name in SKIP_FIELDS
    }
    start, end = ((name, told[name]) for name in ("skip_layer_start", "skip_layer_end"))
    check_interval(start, end)
    return told


def _refined(
    refiner: RefinerParameter,
    model: ServedModel,
    models: Sequence[ServedModel],
    scheduler: str,
    constraints: Mapping[str, Constraint],
) -> dict[str, Any]:
    """The segments of the model and of its refiner, and what that one is told."""
    for name in _OF_THE_REFINER:
        value = getattr(refiner, name)
        if value is not None:
            constraints[name].check(f"refiner.{name}", value)
    OneOf(ENSEMBLE_SCHEDULERS, "with a refiner").check("scheduler", scheduler)
    served = [each.name for each in models if each.is_refiner and each.family == model.family]
    wanted = refiner.model or model.refiner
    if wanted is None or wanted not in served:
        raise ParameterError(
            ErrorCode.NOT_FOUND,
            "refiner.model",
            lambda name: (
                f"{name('refiner.model')} must be a refiner for {model.name} that is served, "
                f"which are {', '.join(served) or 'none'}; got {shown(wanted)}"
            ),
        )
    switch = SWITCH_AT if refiner.switch_at is None else refiner.switch_at
    told = {
        field: value
        for field in ("aesthetic_score", "negative_aesthetic_score")
        if (value := getattr(refiner, field)) is not None
    }
    segments = (Segment(model.name, 0.0, switch), Segment(wanted, switch, 1.0))
    return {"segments": segments, **told}


def _beside_nothing(field: str) -> ParameterError:
    return ParameterError(
        ErrorCode.INVALID_REQUEST,
        field,
        lambda name: f"{name(field)} must be absent where {name('negative_prompt')} is",
    )


def _not_taken(field: str, value: Any, model: ServedModel) -> ParameterError:
    shown_value = "an object" if isinstance(value, RefinerParameter) else shown(value)
    return ParameterError(
        ErrorCode.OUT_OF_RANGE,
        field,
        lambda name: (
            f"{name(field)} must be absent for {model.name}, a model of the family {model.family} "
            f"that takes {', '.join(sorted(model.fields)) or 'no such fields'}; got {shown_value}"
        ),
    )
