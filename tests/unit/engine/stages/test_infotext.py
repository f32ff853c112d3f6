"""A picture's parameters as text."""

from __future__ import annotations

import json

from contract.request import LoraUse, Segment
from engine.stages.infotext import to_text
from tests.conftest import make_request


def last_line(**changes: object) -> str:
    return to_text(make_request(**changes)).splitlines()[-1]


def test_loras_are_named_without_their_version() -> None:
    loras = (LoraUse("ink:0a1b", 0.5), LoraUse("dog:77", -1.25))
    head, _, value = last_line(loras=loras).partition(", LoRAs: ")
    assert head.endswith("Model: embedded")
    assert json.loads(value) == "ink:0.5, dog:-1.25"


def test_scales_are_written_to_the_last_digit() -> None:
    loras = (LoraUse("ink:0a1b", 0.123456789), LoraUse("dog:77"))
    assert last_line(loras=loras).endswith('LoRAs: "ink:0.123456789, dog:1"')


def test_the_lora_of_a_fine_tuned_model_is_its_model() -> None:
    own, other = LoraUse("dog:77"), LoraUse("ink:0a1b", 0.5)
    assert last_line(loras=(own,), alias="dog").endswith("Model: dog")
    assert last_line(loras=(own, other), alias="dog").endswith('Model: dog, LoRAs: "ink:0.5"')


def test_the_guidance_interval_is_there_unless_it_is_everything() -> None:
    assert "Guidance interval" not in last_line()
    assert "Guidance interval: 0.1-0.6" in last_line(guidance_start=0.1, guidance_end=0.6)
    assert "Guidance interval: 0-0.6" in last_line(guidance_end=0.6)


def test_what_only_some_models_take_is_there_if_it_was_given() -> None:
    line = last_line(
        prompt_2="a, b",
        negative_prompt="",
        negative_prompt_2="c",
        original_size=(512, 768),
        guidance_rescale=0.7,
        aesthetic_score=7.5,
        segments=(Segment("embedded", 0.0, 0.8), Segment("fine", 0.8, 1.0)),
    )
    assert line.endswith(
        'Model: embedded, Prompt 2: "a, b", Negative prompt 2: "c", Guidance rescale: 0.7, '
        "Original size: 512x768, Aesthetic score: 7.5, Refiner: fine, Refiner switch at: 0.8"
    )
    assert last_line(crop=(0, 0), aesthetic_score=6.0).endswith("Model: embedded")
    skipped = last_line(skip_layers=(7, 8), skip_layer_end=0.5)
    assert skipped.endswith('Model: embedded, Skip layers: "7, 8", Skip layer end: 0.5')
