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
    html = escape(why.sentence if isinstance(why, Refusal) else why)
    if isinstance(why, Refusal) and why.wants_key:
        # The page asks for one when it is loaded.
        html += ' <a href="">Enter a key</a>'
    return _shown(f'<p class="sd-wrong" role="alert">{html}</p>')


def note(sentence: str) -> dict[str, Any]:
    """The update of a ``place`` that shows what is no fault."""
    return _shown(f'<p class="sd-note" role="status">{escape(sentence)}</p>')


def nothing() -> dict[str, Any]:
    """The update of a ``place`` that hides it."""
    return _shown("")


def _shown(html: str) -> dict[str, Any]:
    update: dict[str, Any] = gr.update(value=html, visible=bool(html))
    return update
