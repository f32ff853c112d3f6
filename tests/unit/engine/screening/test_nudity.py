"""NudeNet, on pictures without anybody in them.

No picture here shows what it is for. What is tested is the way to it and back: that drawings which
it takes for body parts, with scores that people get too, are found from the threshold on.
"""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import PIL.Image
import psutil
import pytest

from contract.screening import NUDITY_LABELS
from engine.screening.nudity import Nudity
from settings import Settings
from tests.conftest import composite

EXPLICIT = Settings().nsfw_labels


@pytest.fixture(scope="module")
def nudity() -> Nudity:
    return Nudity(EXPLICIT, 0.5)


def test_a_peach_is_taken_for_something_else(nudity: Nudity) -> None:
    peach = composite("peach", "white")
    score = nudity.scores(peach)["BUTTOCKS_EXPOSED"]
    assert 0.5 <= score < 1
    assert nudity.look(peach) == f"BUTTOCKS_EXPOSED {score:.2f}"
    assert Nudity(EXPLICIT, 0.99).look(peach) is None


def test_only_the_given_labels_count() -> None:
    peach = composite("peach", "white")
    assert Nudity(["FEET_COVERED"], 0.5).look(peach) is None
    assert Nudity(["FEET_COVERED"], 0.0).look(peach) is not None


def test_most_drawings_are_nothing(nudity: Nudity) -> None:
    for name in ("red apple", "blue car", "rocket", "umbrella"):
        assert nudity.look(composite(name, "blue")) is None


@pytest.mark.parametrize("size", [(640, 320), (320, 640), (2048, 1152), (64, 1)])
def test_any_size_keeps_its_proportions(nudity: Nudity, size: tuple[int, int]) -> None:
    peach = composite("peach", "white").resize((min(size),) * 2)
    canvas = PIL.Image.new("RGB", size)
    canvas.paste(peach, (0, 0))
    found = nudity.look(canvas)
    if min(size) > 64:
        assert found is not None
        assert "BUTTOCKS_EXPOSED" in found


def test_the_package_agrees_that_it_finds_a_peach(tmp_path: Path, nudity: Nudity) -> None:
    """Its own front end, given a picture in the order of channels that the network wants."""
    import_module("numpy")
    detector: Any = import_module("nudenet").NudeDetector()
    peach = composite("peach", "white")
    file = tmp_path / "peach.png"
    red, green, blue = peach.split()
    PIL.Image.merge("RGB", (blue, green, red)).save(file)
    scores = {found["class"]: found["score"] for found in detector.detect(str(file))}
    ours = nudity.scores(peach)["BUTTOCKS_EXPOSED"]
    assert scores["BUTTOCKS_EXPOSED"] == pytest.approx(ours, abs=0.1)


def test_the_labels_are_those_of_the_weights(nudity: Nudity) -> None:
    metadata = nudity._session.get_modelmeta().custom_metadata_map
    assert tuple(ast.literal_eval(metadata["names"]).values()) == NUDITY_LABELS


def test_it_works_in_the_thread_that_calls_it() -> None:
    process = psutil.Process()
    before = process.num_threads()
    Nudity(EXPLICIT, 0.5).look(composite("peach", "white"))
    assert process.num_threads() <= before


def test_without_the_package_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "nudenet", raising=False)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [])
    with pytest.raises(RuntimeError, match=r"pip install -r requirements-nsfw\.txt"):
        Nudity(EXPLICIT, 0.5)
