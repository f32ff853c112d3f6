"""Validation: from a client's parameters to a request that is valid by construction."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from api import arrival, clients
from api.backend import ServedModel
from api.decoding.job import LANCZOS, Decoded, Job, Sizing
from api.keys import current
from api.limits import (
    BEST_QUALITY,
    INPAINT_STRENGTH,
    MAX_SEED,
    RANDOM_SEED,
    OneOf,
    check_interval,
    constraints,
)
from api.model_fields import model_fields
from api.parameters import GenerationParameters, Names, ParameterError
from api.served_models import ServedModels
from contract.errors import ErrorCode
from contract.request import GenerationRequest, OutputFormat
from models.architectures import SCHEDULER_MAX_STEPS
from settings import Settings
from templating.expansion import expand
from templating.wildcards import NO_WILDCARDS, Wildcards


@dataclass(frozen=True, slots=True)
class Draft:
    """A request that has been checked, as far as its pictures do not matter.

    Attributes:
        request: the request, without its pictures; where there are none, as it will be run.
        model: the model that it names.
        job: how its pictures are to be decoded; None where there are none.
    """

    request: GenerationRequest
    model: ServedModel
    job: Job | None


class Validation:
    """Checks parameters against the limits and fills in the defaults of the model they name.

    Args:
        settings: the limits.
        served: the served models.
        wildcards: the wildcards of prompt templates.
    """

    def __init__(
        self, settings: Settings, served: ServedModels, wildcards: Wildcards = NO_WILDCARDS
    ) -> None:
        self._settings = settings
        self._served = served
        self._wildcards = wildcards
        self._constraints = constraints(settings)

    def draft(self, parameters: GenerationParameters, request_id: str) -> Draft:
        """Check all that needs no pixels.

        Takes a moment where there is a template to expand: run it in a thread then.

        Raises:
            RequestError: a parameter is at fault (``ParameterError``), or the deadline passed while
                the request was uploaded and checked.
        """
        self._check_ranges(parameters)
        served = self._served.snapshot()
        choice = served.choose(
            parameters.model, parameters.prompt, parameters.task, parameters.loras
        )
        model = choice.model
        defaults = model.defaults
        scheduler = parameters.scheduler or defaults.scheduler
        OneOf(model.schedulers).check("scheduler", scheduler)
        steps = parameters.num_inference_steps
        if steps is None:
            steps = defaults.num_inference_steps
        _check_steps(steps, scheduler)
        output_format = OutputFormat(parameters.output_format or OutputFormat.PNG)
        _check_quality(parameters.output_quality, output_format)
        extra = model_fields(parameters, model, served.models, scheduler, self._constraints)
        guidance_start, guidance_end = _guidance_interval(parameters)
        num_images = parameters.num_images or 1
        seed = _seed(parameters.seed, num_images)
        strength = _strength(parameters, model)
        if strength is not None and int(steps * strength) < 1:
            raise _out_of_range(
                "strength",
                lambda name: (
                    f"{name('num_inference_steps')} x {name('strength')} must be at least 1, "
                    f"got {steps} x {strength}"
                ),
            )
        width, height = self._size(parameters, model)
        prompts = self._expanded(parameters, seed, num_images)
        key = current.get()
        guidance_scale = parameters.guidance_scale
        request = GenerationRequest(
            request_id=request_id,
            model=model.name,
            prompt=prompts[0] if prompts else parameters.prompt,
            prompts=prompts,
            negative_prompt=parameters.negative_prompt,
            width=width,
            height=height,
            num_inference_steps=steps,
            guidance_scale=defaults.guidance_scale if guidance_scale is None else guidance_scale,
            guidance_start=guidance_start,
            guidance_end=guidance_end,
            scheduler=scheduler,
            seed=seed,
            strength=strength,
            loras=choice.uses,
            alias=None if choice.lora is None else choice.lora.name,
            num_images=num_images,
            tenant=clients.current(),
            tenant_weight=1.0 if key is None else key.priority,
            tenant_places=None if key is None else key.max_queued,
            output_format=output_format,
            output_quality=parameters.output_quality,
            deadline=arrival.remaining(self._settings.deadline),
            wants_previews=parameters.previews,
            **extra,
        )
        return Draft(request, model, self._job(parameters, model))

    def completed(self, draft: Draft, decoded: Decoded) -> GenerationRequest:
        """Build the request of a draft with a job, which has been done. Raises ``RequestError``."""
        self._check_size(decoded.width, decoded.height, draft.model)
        return replace(
            draft.request,
            width=decoded.width,
            height=decoded.height,
            init_image=decoded.picture,
            mask=decoded.mask,
            deadline=arrival.remaining(self._settings.deadline),
        )

    def _check_ranges(self, parameters: GenerationParameters) -> None:
        for field, constraint in self._constraints.items():
            value = getattr(parameters, field, None)
            if value is not None:
                constraint.check(field, value)
        for index, lora in enumerate(parameters.loras):
            self._constraints["scale"].check(f"loras.{index}.scale", lora.scale)

    def _job(self, parameters: GenerationParameters, model: ServedModel) -> Job | None:
        """What is wanted of the input picture and the mask, if there are any."""
        if parameters.init_image is None:
            return None
        settings, defaults = self._settings, model.defaults
        return Job(
            picture="init_image",
            mask=None if parameters.mask is None else "mask",
            mask_is_alpha=parameters.mask_is_alpha,
            max_input_pixels=settings.max_input_pixels,
            sizing=Sizing(
                width=parameters.width,
                height=parameters.height,
                native=(defaults.width, defaults.height),
                multiple=model.multiple_of,
                sides=(settings.min_side, settings.max_side),
                max_pixels=model.max_pixels,
            ),
            resample=LANCZOS,
            fit=parameters.fit,
            invert_mask=parameters.invert_mask,
        )

    def _size(self, parameters: GenerationParameters, model: ServedModel) -> tuple[int, int]:
        """Width and height of the result: given, else the model's own.

        With an input picture, those that are not given follow from it instead.
        """
        for field, side in (("width", parameters.width), ("height", parameters.height)):
            if side is not None and side % model.multiple_of:
                raise _not_a_multiple(field, side, model.multiple_of)
        given = (parameters.width, parameters.height)
        width = model.defaults.width if given[0] is None else given[0]
        height = model.defaults.height if given[1] is None else given[1]
        if parameters.init_image is None or None not in given:
            self._check_size(width, height, model)
        return width, height

    def _check_size(self, width: int, height: int, model: ServedModel) -> None:
        for field, side in (("width", width), ("height", height)):
            if side % model.multiple_of:
                raise _not_a_multiple(field, side, model.multiple_of)
        most = model.max_pixels
        if width * height > most:
            raise _out_of_range(
                "width",
                lambda name: (
                    f"{name('width')} x {name('height')} must be at most {most} pixels, "
                    f"got {width} x {height}"
                ),
            )

    def _expanded(
        self, parameters: GenerationParameters, seed: int, num_images: int
    ) -> tuple[str, ...]:
        """The prompt of each picture; none where the prompt is no template."""
        if not parameters.expand_prompt:
            return ()
        limit = self._settings.max_prompt_chars
        prompts = tuple(
            expand(parameters.prompt, seed + index, self._wildcards) for index in range(num_images)
        )
        longest = max(map(len, prompts))
        if longest > limit:
            raise _out_of_range(
                "prompt",
                lambda name: (
                    f"{name('prompt')} must be at most {limit} characters long once it is "
                    f"expanded, got {longest}"
                ),
            )
        return prompts


def _check_steps(steps: int, scheduler: str) -> None:
    most = SCHEDULER_MAX_STEPS.get(scheduler)
    if most is not None and steps > most:
        raise _out_of_range(
            "num_inference_steps",
            lambda name: (
                f"{name('num_inference_steps')} must be at most {most} with the {scheduler} "
                f"{name('scheduler')}, got {steps}"
            ),
        )


def _check_quality(quality: int | None, output_format: OutputFormat) -> None:
    if output_format is OutputFormat.PNG and quality not in (None, BEST_QUALITY):
        raise _out_of_range(
            "output_quality",
            lambda name: (
                f"{name('output_quality')} must be {BEST_QUALITY} or absent where "
                f"{name('output_format')} is {output_format}, got {quality}"
            ),
        )


def _guidance_interval(parameters: GenerationParameters) -> tuple[float, float]:
    start = 0.0 if parameters.guidance_start is None else parameters.guidance_start
    end = 1.0 if parameters.guidance_end is None else parameters.guidance_end
    check_interval(("guidance_start", start), ("guidance_end", end))
    return start, end


def _seed(given: int | None, num_images: int) -> int:
    """The seed of the first picture, so that all have a valid one; random where none is given."""
    last = MAX_SEED + 1 - num_images
    if given is None or given == RANDOM_SEED:
        return secrets.randbelow(last + 1)
    if given > last:
        raise _out_of_range(
            "seed",
            lambda name: (
                f"{name('seed')} must be at most {last} with {name('num_images')} {num_images}, "
                f"got {given}"
            ),
        )
    return given


def _strength(parameters: GenerationParameters, model: ServedModel) -> float | None:
    """The share of the steps to run; None for a picture from text alone."""
    if parameters.task == "txt2img" or parameters.strength is not None:
        return parameters.strength
    return INPAINT_STRENGTH if parameters.task == "inpaint" else model.defaults.strength


def _not_a_multiple(field: str, side: int, multiple: int) -> ParameterError:
    return _out_of_range(
        field, lambda name: f"{name(field)} must be a multiple of {multiple}, got {side}"
    )


def _out_of_range(field: str, sentence: Callable[[Names], str]) -> ParameterError:
    return ParameterError(ErrorCode.OUT_OF_RANGE, field, sentence)
