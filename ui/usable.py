"""What of a request this service can follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ui.served import Served


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
