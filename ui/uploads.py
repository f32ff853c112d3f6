"""The component for a picture that a visitor gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr


def picture(label: str, elem_id: str) -> gr.Image:
    """A picture whose value is the path of its file, as it was given."""
    made = gr.Image(
        label=label, type="filepath", sources=["upload", "clipboard"], elem_id=elem_id, height=320
    )
    # Gradio's own looks into the file, and has no sentence for a broken one: the service has. It is
    # no class of its own, as Gradio would write a stub of that beside this module.
    made.preprocess = _path
    return made


def content(path: str) -> bytes:
    """The bytes of such a file."""
    return Path(path).read_bytes()


def _path(payload: Any) -> str | None:
    return None if payload is None else payload.path
