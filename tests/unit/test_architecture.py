"""The drawing in docs/architecture.md."""

from __future__ import annotations

from docs.architecture import DRAWING, draw


def test_the_drawing_is_made_of_the_code_as_it_is() -> None:
    assert DRAWING.read_text(encoding="utf-8") == draw(), "run: make architecture"
