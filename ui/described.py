"""The fields of a request in a visitor's words: rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from ui.served import Served

# In the order in which they stand.
_TITLES: Final = {
    "prompt": "Prompt",
    "negative_prompt": "Negative prompt",
    "model": "Model",
    "loras": "LoRAs",
    "size": "Size",
    "num_inference_steps": "Steps",
    "guidance_scale": "Guidance",
    "scheduler": "Scheduler",
    "seed": "Seed",
    "num_images": "Pictures",
    "strength": "Strength",
    "refiner": "Refiner",
}


def table(fields: Mapping[str, Any]) -> str:
    """The fields as HTML; empty where there are none."""
    rows = "".join(
        f"<tr><th scope='row'>{escape(title)}</th><td>{escape(text)}</td></tr>"
        for title, text in described(fields)
    )
    return f"<table class='sd-fields'><tbody>{rows}</tbody></table>" if rows else ""


def described(fields: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Title and text of each field that says something."""
    given = {name: value for name, value in fields.items() if value not in (None, "", [])}
    if {"width", "height"} <= given.keys():
        given["size"] = f"{given.pop('width')} x {given.pop('height')}"
    known = {name: given.pop(name) for name in _TITLES if name in given}
    return [(_title(name), _text(name, value)) for name, value in {**known, **given}.items()]


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


def _title(name: str) -> str:
    return _TITLES.get(name) or name.replace("_", " ").capitalize()


def _text(name: str, value: Any) -> str:
    if name == "loras":
        return ", ".join(f"{one['name']} ({one.get('scale') or 1:g})" for one in value)
    if name == "refiner":
        switch = value.get("switch_at")
        model = value.get("model") or "that of the model"
        return model if switch is None else f"{model}, from {switch:g} on"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
