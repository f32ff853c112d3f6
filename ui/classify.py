"""Classify: what the service's classifier takes a picture for."""

from __future__ import annotations

from typing import Final

import gradio as gr

from ui import messages, uploads
from ui.page import Page, Values
from ui.served import Served
from ui.session import Session

_MOST: Final = 20
_USUAL: Final = 5


def build(page: Page, tab: gr.Tab) -> None:
    """Fill the tab."""
    gr.Markdown("What does a picture show? The likeliest answers of the service's classifier.")
    absent = messages.place("sd-classify-absent")
    with gr.Row() as there:
        with gr.Column(min_width=280):
            picture = uploads.picture("Picture to classify", "sd-classify-picture")
            count = gr.Slider(
                1, _MOST, _USUAL, step=1, label="Answers", elem_id="sd-classify-count"
            )
            message = messages.place("sd-classify-message")
        with gr.Column(min_width=280):
            labels = gr.Label(
                label="It shows",
                num_top_classes=_MOST,
                visible=False,
                elem_id="sd-classify-labels",
            )

    def follow(served: Served) -> Values:
        if not served.labels:
            said = messages.note("This service has no classifier (SD_CLASSIFIER=none).")
            return [gr.update(visible=False), said, gr.skip()]
        most = min(_MOST, served.labels)
        shown = gr.update(maximum=most, value=min(_USUAL, most))
        return [gr.update(visible=True), messages.nothing(), shown]

    async def classify(session: Session, path: str | None, wanted: int) -> Values:
        if path is None:
            return [gr.update(value=None, visible=False)]
        found = await session.classify(uploads.content(path), int(wanted))
        return [gr.update(value={one.label: one.score for one in found}, visible=True)]

    page.on_models(follow, [there, absent, count])
    for trigger in (picture.change, count.release):
        page.on(trigger, classify, [picture, count], [labels], message=message)
