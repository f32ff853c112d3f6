"""What of a request this service can follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ui.served import Model, Served
from ui.sizes import named


def usable(served: Served, fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The fields that this service can follow, and a sentence for each that it cannot."""
    used, notes = dict(fields), []
    names = {model.name for model in served.models}
    if (name := used.get("model")) is not None and name not in names:
        notes.append(f"Model: {name} is not served here, so {served.default.name} is taken.")
        used["model"] = served.default.name
    model = served.model(used.get("model"))
    if (scheduler := used.get("scheduler")) is not None and scheduler not in served.schedulers:
        notes.append(f"Scheduler: {scheduler} is not served here.")
        del used["scheduler"]
    if (why := _size_fault(served, model, used)) is not None:
        notes.append(f"Size: {why}, so that of {model.name} is taken.")
        used.pop("width", None)
        used.pop("height", None)
    there = {lora.name for lora in served.loras(model)}
    for lora in used.get("loras") or ():
        if lora["name"] not in there:
            notes.append(f"LoRAs: there is no {lora['name']} for {model.name} here.")
    if "loras" in used:
        used["loras"] = [lora for lora in used["loras"] if lora["name"] in there]
    refiner = used.get("refiner")
    if refiner and refiner.get("model", model.refiner) not in served.refiners(model):
        notes.append(f"Refiner: {refiner.get('model')} is not served here for {model.name}.")
        del used["refiner"]
    if "strength" in used:
        notes.append(
            "Strength: the picture was made from another picture, which is not in the file."
        )
    return used, notes


def _size_fault(served: Served, model: Model, fields: Mapping[str, Any]) -> str | None:
    """Why the model does not make pictures of that size."""
    width = fields.get("width") or model.defaults["width"]
    height = fields.get("height") or model.defaults["height"]
    size, limits = named((width, height)), served.limits
    if width % model.multiple_of or height % model.multiple_of:
        return f"{size} is not in multiples of {model.multiple_of}"
    if min(width, height) < limits.min_side or max(width, height) > limits.max_side:
        return f"the sides of {size} are not within {limits.min_side} and {limits.max_side}"
    if width * height > model.max_pixels:
        return f"{size} is more than {model.max_pixels} pixels"
    return None
