"""What of a file's parameters a service can follow."""

from __future__ import annotations

import pytest

from tests.unit.ui.serving import SERVED
from ui.usable import usable


def test_what_is_served_is_used_as_it_is() -> None:
    for fields in (
        {"prompt": "x", "model": "base", "scheduler": "euler", "loras": [{"name": "clay"}]},
        {"prompt": "x", "model": "xl", "refiner": {"model": "xl-refiner", "switch_at": 0.7}},
        {"prompt": "x", "model": "xl", "refiner": {}},
        {},
    ):
        assert usable(SERVED, fields) == (fields, [])


def test_what_is_not_served_is_said_and_left_out() -> None:
    fields = {
        "prompt": "x",
        "model": "v1-5",
        "scheduler": "dpmpp_sde",
        "loras": [{"name": "ink"}, {"name": "clay", "scale": 0.5}],
        "refiner": {"model": "v2"},
        "strength": 0.5,
    }
    used, notes = usable(SERVED, fields)
    assert used == {
        "prompt": "x",
        "model": "base",
        "loras": [{"name": "clay", "scale": 0.5}],
        "strength": 0.5,
    }
    names = ["Model", "Scheduler", "LoRAs", "Refiner", "Strength"]
    assert [note.partition(":")[0] for note in notes] == names
    assert "v1-5 is not served here, so base is taken" in notes[0]


@pytest.mark.parametrize(
    ("size", "why"),
    [
        ({"width": 1024, "height": 1024}, "1024 × 1024 is more than 1000000 pixels"),
        ({"width": 56}, "the sides of 56 × 512 are not within 64 and 2048"),
        ({"width": 512, "height": 500}, "512 × 500 is not in multiples of 8"),
    ],
)
def test_a_size_that_the_model_does_not_make_is_said(size: dict[str, int], why: str) -> None:
    wanted = {"prompt": "x", "model": "base"}
    assert usable(SERVED, wanted | {"width": 1000, "height": 1000})[1] == []
    assert usable(SERVED, wanted | size) == (wanted, [f"Size: {why}, so that of base is taken."])
