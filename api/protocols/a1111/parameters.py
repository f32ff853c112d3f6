"""From the fields of the web UI's requests to parameters in neutral names."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from api.decoding.job import Fit
from api.errors import out_of_range, shown
from api.limits import RANDOM_SEED, Length
from api.parameters import GenerationParameters, RefinerParameter
from api.protocols.a1111 import bodies, leftovers, prompts, samplers
from api.protocols.a1111.preferences import Preferences, output_format
from api.protocols.a1111.schemas import DENOISING_STRENGTH, Generation, WebUIImg2Img
from contract.errors import ErrorCode, RequestError
from models.catalog import Task
from settings import Settings

# Parameters that clients do not know by their neutral name.
NAMES: Final[Mapping[str, str]] = {
    "num_inference_steps": "steps",
    "guidance_scale": "cfg_scale",
    "scheduler": "sampler_name",
    "num_images": "batch_size x n_iter",
    "model": "sd_model_checkpoint",
    "loras": "prompt.loras",
    "init_image": "init_images",
    "strength": "denoising_strength",
    "refiner": "refiner_checkpoint",
    "refiner.model": "refiner_checkpoint",
    "refiner.switch_at": "refiner_switch_at",
}
_FITS: Final[Mapping[int, Fit]] = {0: "stretch", 1: "crop", 2: "extend"}
_NONE: Final = frozenset({"", "None"})
# The web UI draws its random seeds below it, and some of its clients keep them in so many bits.
_SEEDS: Final = 2**32


@dataclass(frozen=True, slots=True)
class Understood:
    """A request in neutral names, and what of it had no effect."""

    parameters: GenerationParameters
    notes: tuple[str, ...]


def understand(body: Generation, task: Task, given: Preferences, settings: Settings) -> Understood:
    """Read the fields of a request, but for its pictures.

    Args:
        body: the request.
        task: what it is.
        given: the preferences of its client.
        settings: the limits.

    Raises:
        RequestError: a field cannot be honoured, and another picture would not do.
    """
    leftovers.check(body)
    _check_number(body, settings.max_images)
    schedule = samplers.choose(
        body.sampler_name or body.sampler_index, body.scheduler, ("sampler_name", "scheduler")
    )
    prompt = understood_prompt("prompt", body.prompt, settings)
    negative = understood_prompt("negative_prompt", body.negative_prompt, settings, networks=False)
    parameters = GenerationParameters(
        task=task,
        prompt=prompt.text,
        negative_prompt=negative.text or None,
        width=body.width,
        height=body.height,
        num_inference_steps=body.steps,
        guidance_scale=body.cfg_scale,
        scheduler=schedule.scheduler,
        seed=_seed(body),
        num_images=body.batch * body.batches,
        model=_model(body, given),
        loras=() if body.disable_extra_networks else prompt.loras,
        output_format=_output_format(body, given),
        refiner=_refiner(body),
    )
    notes = [f"prompt: {note}" for note in prompt.notes]
    notes += [f"negative_prompt: {note}" for note in negative.notes]
    if body.disable_extra_networks and prompt.loras:
        notes.append("prompt: its LoRAs are left out, as disable_extra_networks says")
    if schedule.ignored:
        notes.append(f"scheduler: {schedule.ignored}")
    return Understood(parameters, tuple(notes))


def understood_prompt(
    field: str, written: str | None, settings: Settings, networks: bool = True
) -> prompts.Prompt:
    """A prompt in our syntax. Raises ``RequestError``."""
    # What it is then may be longer, and is checked again.
    Length(settings.max_prompt_chars).check(field, written or "")
    return prompts.understand(field, written or "", networks)


def with_pictures(parameters: GenerationParameters, body: WebUIImg2Img) -> GenerationParameters:
    """The same with the pictures of the request. Raises ``RequestError``."""
    pictures = body.init_images or []
    if len(pictures) != 1:
        raise RequestError(
            ErrorCode.INVALID_REQUEST,
            f"init_images must have one picture, got {len(pictures)}",
            field="init_images",
        )
    mode = body.resize_mode or 0
    if mode not in _FITS:
        listed = ", ".join(map(str, _FITS))
        raise out_of_range("resize_mode", f"one of {listed}", mode)
    strength = body.denoising_strength
    return replace(
        parameters,
        strength=DENOISING_STRENGTH if strength is None else strength,
        init_image=bodies.picture("init_images", pictures[0]),
        mask=bodies.picture("mask", body.mask) if body.mask else None,
        fit=_FITS[mode],
        invert_mask=bool(body.inpainting_mask_invert),
    )


def named(name: str | None) -> str | None:
    """A name of something that is there; None for what says that there is none."""
    return None if name is None or name in _NONE else name


def _check_number(body: Generation, most: int) -> None:
    for field, value in (("batch_size", body.batch), ("n_iter", body.batches)):
        if value < 1:
            raise out_of_range(field, "at least 1", value)
    if body.batch * body.batches > most:
        raise RequestError(
            ErrorCode.OUT_OF_RANGE,
            f"batch_size x n_iter must be at most {most}, got {shown(body.batch)} x "
            f"{shown(body.batches)}",
            field="batch_size",
        )


def _seed(body: Generation) -> int:
    if body.seed is None or body.seed == RANDOM_SEED:
        return secrets.randbelow(_SEEDS - body.batch * body.batches)
    return body.seed


def _model(body: Generation, given: Preferences) -> str | None:
    override = (body.override_settings or {}).get("sd_model_checkpoint")
    if override is None or override == "":
        return given.model
    if not isinstance(override, str):
        raise out_of_range("override_settings.sd_model_checkpoint", "a name", override)
    return override


def _output_format(body: Generation, given: Preferences) -> str:
    override = (body.override_settings or {}).get("samples_format")
    if override is None:
        return output_format(given.output_format, "samples_format").value
    return output_format(override, "override_settings.samples_format").value


def _refiner(body: Generation) -> RefinerParameter | None:
    name = named(body.refiner_checkpoint)
    if name is None:
        return None
    return RefinerParameter(model=name, switch_at=body.refiner_switch_at)
