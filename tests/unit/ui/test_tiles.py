"""What visitors have written is text in the page's HTML, never a part of it."""

from __future__ import annotations

from ui import tiles

EVIL = '<img src=x onerror="alert(1)">\'&'


def test_nothing_that_is_shown_becomes_html() -> None:
    for html in (
        tiles.settings({"prompt": EVIL, "model": EVIL, "loras": [{"name": EVIL}]}),
        tiles.settings({"refiner": {"model": EVIL}, EVIL: EVIL}),
        tiles.picture(None, EVIL, EVIL),
        tiles.picture(b"x", EVIL),
        tiles.button(EVIL, "select", name=EVIL),
        tiles.moment(EVIL),
    ):
        assert "<img src=x" not in html
        assert 'onerror="' not in html
    assert "No prompt" in tiles.settings({"seed": 7})


def test_fields_have_the_names_that_people_know() -> None:
    html = tiles.settings(
        {
            "prompt": "a pear",
            "num_inference_steps": 8,
            "guidance_scale": 7.0,
            "width": 64,
            "height": 96,
            "loras": [
                {"name": "clay", "scale": 0.5},
                {"name": "ink"},
                {"name": "wool", "scale": 0},
            ],
            "refiner": {"model": "finisher", "switch_at": 0.8},
            "negative_prompt": None,
        }
    )
    for name, value in (
        ("steps", "8"),
        ("guidance", "7"),
        ("size", "64 × 96"),
        ("loras", "clay (0.5), ink (1), wool (0)"),
        ("refiner", "model: finisher, switch at: 0.8"),
    ):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in html
    assert "negative" not in html
    assert "width" not in html
