"""Fields of the API and the values of a form's controls: one from the other."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any, Final

from ui.refusal import Refusal
from ui.served import AUTO, Model, Served

# So many scales can be set; further LoRAs go into the further fields.
LORAS: Final = 8
SWITCH_AT: Final = 0.8
_SEEDS: Final = 2**32
# Controls that are a field of the API each, under its name; what is empty is left out.
_ALIKE: Final = (
    "prompt",
    "negative_prompt",
    "model",
    "width",
    "height",
    "num_inference_steps",
    "guidance_scale",
    "scheduler",
    "num_images",
    "output_format",
    "strength",
)
# Likewise, but left out where they are what the API has by default.
_RARE: Final = {
    "guidance_start": 0.0,
    "guidance_end": 1.0,
    "guidance_rescale": 0.0,
    "expand_prompt": False,
    "previews": False,
}


def random_seed() -> int:
    """One that people can read out."""
    return secrets.randbelow(_SEEDS)


def requested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the API from the values of the controls.

    Raises:
        Refusal: the further fields are no JSON object.
    """
    fields: dict[str, Any] = {"prompt": ""}
    for name in _ALIKE:
        if values.get(name) not in (None, ""):
            fields[name] = values[name]
    for name, default in _RARE.items():
        if values.get(name) not in (None, default):
            fields[name] = values[name]
    names = (values.get("loras") or [])[:LORAS]
    if names:
        scales = [values[f"scale_{index}"] for index in range(len(names))]
        fields["loras"] = [
            {"name": name, "scale": scale} for name, scale in zip(names, scales, strict=True)
        ]
    if values.get("refine"):
        fields["refiner"] = {"model": values["refiner"], "switch_at": values["switch_at"]}
    if values.get("seed") is not None:
        fields["seed"] = values["seed"]
    return fields | _further(values.get("further"))


def controls(served: Served, fields: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The values of the controls from fields of the API; what is absent is as the model has it.

    A model that is not served, or cannot do the task, gives way to the first one that can.
    """
    model = chosen(served, fields.get("model"), task)
    given = {name: value for name, value in fields.items() if value is not None}
    values = defaults(served, model, task)
    known = {*_ALIKE, *_RARE, "seed", "loras", "refiner"} - {"model"}
    values |= {name: given[name] for name in given if name in known - {"loras", "refiner"}}
    loras = given.get("loras") or []
    offered = {lora.name for lora in served.loras(model)}
    taken = [lora for lora in loras if lora["name"] in offered][:LORAS]
    values["loras"] = [lora["name"] for lora in taken]
    for index, lora in enumerate(taken):
        values[f"scale_{index}"] = lora.get("scale", 1.0)
    if (refiner := given.get("refiner")) is not None and values["refiner"]:
        values["refine"] = True
        values["refiner"] = refiner.get("model") or values["refiner"]
        values["switch_at"] = refiner.get("switch_at") or SWITCH_AT
    values["lock"] = "seed" in given
    if fields.get("model") == AUTO:
        values["model"] = AUTO
    others = {name: given[name] for name in given if name not in known | {"model"}}
    values["further"] = json.dumps(others, ensure_ascii=False) if others else ""
    return values


def defaults(served: Served, model: Model, task: str) -> dict[str, Any]:
    """The values of the controls for a model, before anyone has changed them."""
    own = model.defaults
    refiners = served.refiners(model)
    keeps_size = task != "txt2img"
    return {
        "prompt": "",
        "negative_prompt": "",
        "model": model.name,
        "loras": [],
        **{f"scale_{index}": 1.0 for index in range(LORAS)},
        "width": None if keeps_size else own["width"],
        "height": None if keeps_size else own["height"],
        "num_inference_steps": own["num_inference_steps"],
        "guidance_scale": own["guidance_scale"],
        "scheduler": "",
        "num_images": 1,
        "output_format": served.output_formats[0],
        "strength": own.get("strength"),
        "seed": None,
        "lock": False,
        **_RARE,
        "previews": model.shows_previews,
        "refine": False,
        "refiner": refiners[0] if refiners else None,
        "switch_at": SWITCH_AT,
        "further": "",
    }


def chosen(served: Served, name: str | None, task: str) -> Model:
    """The model of that name if it can do the task, else the first one that can."""
    able = served.able(task) or [served.default]
    return next((model for model in able if model.name == name), able[0])


def _further(text: str | None) -> dict[str, Any]:
    if not (text or "").strip():
        return {}
    try:
        further = json.loads(text or "")
    except ValueError:
        further = None
    if not isinstance(further, dict):
        raise Refusal(
            'Further fields must be a JSON object, like {"crop": [0, 0]}.', field="further"
        )
    return further
