"""The answer with pictures: the files, the fields of the request, and ``info``, JSON as text."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from api import request_id
from api.protocols.a1111 import file_texts, samplers
from api.protocols.a1111.leftovers import HONOURED
from api.protocols.a1111.responses import GenerationResponse
from api.protocols.a1111.schemas import Generation
from api.protocols.a1111.work import Work
from api.version import VERSION
from contract.events import Image
from contract.request import GenerationRequest, OutputFormat
from engine.stages.infotext import to_text

# Fields that are repeated whatever their length, which is bounded; of the others what is short.
_PROMPTS: Final = frozenset({"prompt", "negative_prompt", "hr_prompt", "hr_negative_prompt"})
_SHORT: Final = 256


@dataclass(frozen=True, slots=True)
class Told:
    """What the answer says of a request, beside its pictures.

    Attributes:
        parameters: its fields, as far as they are short.
        prompt: as the client wrote it; likewise ``negative_prompt``.
        batch_size: pictures in a batch.
        send_images: whether the client wants the pictures.
        notes: what had no effect.
        changes: what the pictures' texts have beside what the request has.
    """

    parameters: dict[str, Any]
    prompt: str
    negative_prompt: str
    batch_size: int
    send_images: bool
    notes: tuple[str, ...]
    changes: dict[str, object]


def parameters_of(body: Generation) -> dict[str, Any]:
    """The fields of a request, with null for those that it has left out, and for its pictures."""
    override = body.override_settings or {}
    fields = {name: getattr(body, name) for name in type(body).model_fields}
    return {
        name: value if name in _PROMPTS or _is_short(value) else None
        for name, value in fields.items()
    } | {"override_settings": {name: override[name] for name in HONOURED if name in override}}


def _is_short(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _SHORT)


def answer(
    told: Told, wanted: GenerationRequest, images: Sequence[Image], work: Work
) -> GenerationResponse:
    """The answer to a request.

    Args:
        told: what it says beside the pictures.
        wanted: the request as it was done.
        images: those that were made; of one that was given up, fewer than were asked for.
        work: how it went.
    """
    texts = [_text(told, wanted, image) for image in images]
    files = [
        image.data
        if wanted.output_format is not OutputFormat.PNG
        else file_texts.with_parameters(image.data, text)
        for image, text in zip(images, texts, strict=True)
    ]
    return GenerationResponse(
        images=[base64.b64encode(file).decode("ascii") for file in files]
        if told.send_images
        else [],
        parameters=told.parameters,
        info=json.dumps(_info(told, wanted, images, texts, work)),
    )


def _text(told: Told, wanted: GenerationRequest, image: Image) -> str:
    """The parameters of a picture, with the prompts in the client's own syntax."""
    sampler, schedule = samplers.described(wanted.scheduler)
    alone = replace(
        wanted,
        prompt=told.prompt,
        negative_prompt=told.negative_prompt,
        seed=image.seed,
        # The prompt has them.
        loras=(),
    )
    changes = {"Sampler": sampler, "Schedule type": schedule, **told.changes}
    return to_text(alone, image.screening, changes)


def _info(
    told: Told,
    wanted: GenerationRequest,
    images: Sequence[Image],
    texts: Sequence[str],
    work: Work,
) -> dict[str, Any]:
    count = len(images)
    warnings = dict.fromkeys(sentence for image in images for sentence in image.warnings)
    return {
        "prompt": told.prompt,
        "all_prompts": [told.prompt] * count,
        "negative_prompt": told.negative_prompt,
        "all_negative_prompts": [told.negative_prompt] * count,
        "seed": wanted.seed,
        "all_seeds": [image.seed for image in images],
        "subseed": wanted.seed,
        "all_subseeds": [image.seed for image in images],
        "subseed_strength": 0,
        "width": wanted.width,
        "height": wanted.height,
        "sampler_name": samplers.described(wanted.scheduler)[0],
        "cfg_scale": wanted.guidance_scale,
        "steps": wanted.num_inference_steps,
        "batch_size": told.batch_size,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": wanted.served_as,
        "sd_model_hash": "",
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": wanted.strength,
        "extra_generation_params": {
            "Schedule type": samplers.described(wanted.scheduler)[1],
            **told.changes,
        },
        "index_of_first_image": 0,
        "infotexts": list(texts),
        "styles": [],
        "job_timestamp": work.timestamp,
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
        "version": f"stable-diffusion-service {VERSION}",
        # Beyond what the web UI has.
        "ignored": list(told.notes),
        "warnings": list(warnings),
        "screening": [list(image.screening) for image in images],
        "interrupted": work.interrupted or work.skipped,
        "request_id": request_id.current.get(),
    }
