"""A picture from a text."""

from __future__ import annotations

import gradio as gr

from ui.form import Form
from ui.order import Order, Pictures
from ui.page import Page, Parcel, Values
from ui.served import Served


def build(page: Page, tab: gr.Tab) -> None:
    """Fill the tab."""
    order = Order(page, "text")
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300, elem_classes="sd-form"):
            form = Form(page, "text", "txt2img")
            order.buttons(form)
        with gr.Column(scale=3, min_width=300, elem_classes="sd-result"):
            order.stage()
    order.connect(form, _no_pictures)

    def fill(served: Served, parcel: Parcel) -> Values:
        return form.fill(served, parcel.fields) if parcel.fields else form.unchanged()

    page.receive("text", fill, form.outputs)


async def _no_pictures() -> Pictures:
    return None, None
