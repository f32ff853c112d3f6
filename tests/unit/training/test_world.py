"""The objects, their art and its licences."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from training.embedded.art import ART_DIR, STYLES, sprite_path
from training.embedded.report import README_OBJECTS
from training.embedded.world import OBJECTS_FILE, load_world


def test_there_is_enough_to_draw() -> None:
    world = load_world()
    assert len(world.drawn) >= 60
    assert len(world.colours) >= 10
    assert set(README_OBJECTS) <= {subject.name for subject in world.drawn}


@pytest.mark.parametrize("style", STYLES)
def test_every_object_has_a_sprite_and_every_sprite_an_object(style: str) -> None:
    expected = {sprite_path(style, subject.name) for subject in load_world().subjects}
    assert set((ART_DIR / style).iterdir()) == expected
    for path in expected:
        with Image.open(path) as image:
            image.load()
            assert image.size == (64, 64)
            alpha = image.convert("RGBA").getchannel("A").getextrema()
        assert alpha == (0, 255), f"{path} has no transparent ground"


def test_the_art_says_where_it_comes_from() -> None:
    readme = (ART_DIR / "README.md").read_text(encoding="utf-8")
    for words in (
        "emoji-datasource-google",
        "emoji-datasource-twitter",
        "16.0.0",
        "Apache License 2.0",
        "CC-BY 4.0",
    ):
        assert words in readme
    notice = (Path(__file__).parents[3] / "NOTICE").read_text(encoding="utf-8")
    assert "Noto" in notice
    assert "Twemoji" in notice


def test_an_unknown_held_out_colour_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "objects.yaml"
    path.write_text(
        OBJECTS_FILE.read_text(encoding="utf-8").replace(
            "{name: cat, held_out: brown}", "{name: cat, held_out: mauve}"
        ),
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match="cat: unknown colour 'mauve'"):
        load_world(path)


def test_an_object_listed_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "objects.yaml"
    line = "  - {name: cat, held_out: brown}\n"
    text = OBJECTS_FILE.read_text(encoding="utf-8")
    path.write_text(text.replace(line, line * 2), encoding="utf-8")
    with pytest.raises(ValueError, match="listed twice"):
        load_world(path)
