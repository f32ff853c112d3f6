"""What of a file's parameters a service can follow."""

from __future__ import annotations

from typing import Any

from ui.served import Served
from ui.usable import usable

LIMITS = dict.fromkeys(
    (
        *("min_side", "max_side", "max_pixels", "max_steps", "max_images", "max_loras"),
        *("max_prompt_chars", "max_body_bytes", "max_input_pixels"),
    ),
    64,
)


def model(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "base",
        "default": name == "tiny",
        "family": "sd1",
        "description": "",
        "tasks": ["txt2img"],
        "multiple_of": 8,
        "max_pixels": 4096,
        "defaults": {"width": 64, "height": 64},
        "fields": [],
        "refiner": None,
        "fine_tuning": None,
        "screening": {},
        **changes,
    }


def served() -> Served:
    tuned = {"base": "tiny", "subject_token": "unqtkn", "class_name": "robot", "created": "x"}
    return Served.of(
        {
            "version": "1",
            "models": [
                model("tiny"),
                model("large", family="sdxl", fields=["refiner"], refiner="finisher"),
                model("finisher", family="sdxl", fields=["aesthetic_score"]),
                model("clay", kind="lora", fine_tuning=tuned),
            ],
            "classifier": None,
            "limits": LIMITS,
            "schedulers": ["ddim", "euler"],
            "output_formats": ["png"],
        }
    )


def test_what_is_served_is_used_as_it_is() -> None:
    for fields in (
        {"prompt": "x", "model": "tiny", "scheduler": "euler", "loras": [{"name": "clay"}]},
        {"prompt": "x", "model": "large", "refiner": {"model": "finisher", "switch_at": 0.7}},
        {"prompt": "x", "model": "large", "refiner": {}},
        {},
    ):
        assert usable(served(), fields) == (fields, [])


def test_what_is_not_served_is_said_and_left_out() -> None:
    fields = {
        "prompt": "x",
        "model": "v1-5",
        "scheduler": "dpmpp_sde",
        "loras": [{"name": "ink"}, {"name": "clay", "scale": 0.5}],
        "refiner": {"model": "v2"},
        "strength": 0.5,
    }
    used, notes = usable(served(), fields)
    assert used == {
        "prompt": "x",
        "model": "tiny",
        "loras": [{"name": "clay", "scale": 0.5}],
        "strength": 0.5,
    }
    assert [note.partition(":")[0] for note in notes] == [
        *("Model", "Scheduler", "LoRAs", "Refiner", "Strength")
    ]
    assert "v1-5 is not served here, so tiny is taken" in notes[0]
