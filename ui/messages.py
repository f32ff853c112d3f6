"""Sentences for the visitor: HTML, and updates of the elements that show it."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from ui.refusal import Refusal


def place(elem_id: str | None = None) -> gr.HTML:
    """The element under a field or a button that shows what is wrong; hidden while nothing is."""
    return gr.HTML(
        "", visible=False, apply_default_css=False, elem_id=elem_id, elem_classes="sd-message"
    )


def wrong(why: Refusal | str) -> dict[str, Any]:
    """The update of a ``place`` that shows a sentence; screen readers say it at once."""
    sentence = why.sentence if isinstance(why, Refusal) else why
    return gr.update(value=f'<p class="sd-wrong" role="alert">{escape(sentence)}</p>', visible=True)


def note(sentence: str) -> dict[str, Any]:
    """The update of a ``place`` that shows what is no fault."""
    return gr.update(value=f'<p class="sd-note" role="status">{escape(sentence)}</p>', visible=True)


def nothing() -> dict[str, Any]:
    """The update of a ``place`` that hides it."""
    return gr.update(value="", visible=False)
