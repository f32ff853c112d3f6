"""What of a file's parameters a service can follow."""

from __future__ import annotations

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
