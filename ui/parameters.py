"""Parameters: what is in a picture's file fills the forms."""

from __future__ import annotations

import gradio as gr

from ui.page import Page


def build(page: Page, tab: gr.Tab) -> None:
    """Fill the tab."""
    gr.Markdown("Not there yet.")
