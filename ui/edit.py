"""A picture from a picture, and a part of one inpainted."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import gradio as gr

from ui import painting
from ui.form import Form
from ui.order import Order, Pictures
from ui.page import Page, Parcel, Values
from ui.served import Served

_HINT: Final = (
    '<p class="sd-quiet">Paint over a part of the picture, and only that part is made anew; '
    "without, all of it is.</p>"
)


def build(page: Page, tab: gr.Tab) -> None:
    """Fill the tab."""
    order = Order(page, "edit")
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300, elem_classes="sd-form"):
            editor = gr.ImageEditor(
                label="Picture",
                type="pil",
                format="png",
                sources=("upload", "clipboard"),
                transforms=(),
                layers=False,
                brush=gr.Brush(colors=[("#7c3aed", 0.7)], color_mode="fixed"),
                height=420,
                elem_id="sd-edit-picture",
            )
            gr.HTML(_HINT, apply_default_css=False)
            form = Form(page, "edit", "img2img")
            order.buttons(form)
        with gr.Column(scale=3, min_width=300, elem_classes="sd-result"):
            order.stage()
    order.connect(form, _pictures, [editor])

    def fill(served: Served, parcel: Parcel) -> Values:
        filled = form.fill(served, parcel.fields) if parcel.fields else form.unchanged()
        shown = gr.skip() if parcel.picture is None else _shown(parcel.picture)
        return [*filled, shown]

    page.receive("edit", fill, [*form.outputs, editor])


def _shown(file: bytes) -> dict[str, Any]:
    picture = painting.opened(file)
    return {"background": picture, "layers": [], "composite": picture}


async def _pictures(given: dict[str, Any] | None) -> Pictures:
    return await asyncio.to_thread(_files, given)


def _files(given: dict[str, Any] | None) -> Pictures:
    picture = painting.picture_of(given)
    mask = painting.mask_of(given or {}, picture.size)
    return painting.file_of(picture), None if mask is None else painting.file_of(mask)
