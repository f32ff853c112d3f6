"""The component for a picture that a visitor gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr


class Picture(gr.Image):
    """A picture by its file, which is not decoded here: the service does that, and says what is
    wrong with it. Its value is the path."""

    # It is shown as its base is.
    is_template = True

    def __init__(self, label: str, elem_id: str) -> None:
        super().__init__(
            label=label, type="filepath", sources=["upload", "clipboard"], elem_id=elem_id
        )

    def preprocess(self, payload: Any) -> str | None:
        return None if payload is None else payload.path


def content(path: str) -> bytes:
    """The bytes of such a file."""
    return Path(path).read_bytes()
