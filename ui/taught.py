"""Fine-tuned models, with their subject tokens."""

from __future__ import annotations

import gradio as gr

from ui.page import Page


def build(page: Page, tab: gr.Tab) -> None:
    """Fill the tab."""
    gr.Markdown("Not there yet.")
