"""A picture from a picture, and a part of one inpainted."""

from __future__ import annotations

import gradio as gr

from ui.page import Page


def build(page: Page, tab: gr.Tab) -> None:
    """Fill the tab."""
    gr.Markdown("Not there yet.")
