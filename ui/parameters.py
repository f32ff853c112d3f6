"""Read parameters: a file is dropped, and what it says of its making fills the form."""

from __future__ import annotations

import asyncio
import base64
from html import escape
from typing import Any

import gradio as gr

from ui import messages, tiles
from ui.page import Page, Parcel, Values
from ui.refusal import Refusal
from ui.session import Session
from ui.thumbnails import small
from ui.usable import usable

_INTRODUCTION = """\
Drop a picture that this service has made, or one of the AUTOMATIC1111 web UI: PNG, JPEG or WebP, as
it was downloaded. What its file says of its making fills the form of *Text → picture*.
"""


def build(page: Page, tab: gr.Tab) -> None:
    """Fill the tab."""
    gr.Markdown(_INTRODUCTION)
    with gr.Row():
        with gr.Column(min_width=280):
            file = gr.File(
                label="Picture file",
                file_types=[".png", ".jpg", ".jpeg", ".webp"],
                type="binary",
                elem_id="sd-parameters-file",
            )
            message = messages.place("sd-parameters-said")
        with gr.Column(min_width=280, visible=False) as found:
            shown = gr.HTML(elem_id="sd-parameters-text")
            fields = gr.State({})
            with gr.Row():
                show = gr.Button("Show the form", variant="primary", elem_id="sd-parameters-show")
                edit = gr.Button("Picture → picture", elem_id="sd-parameters-edit")

    async def read(session: Session, data: bytes) -> Values:
        try:
            reading = await session.read(data)
            served = await session.served()
        except Refusal as refusal:
            return [gr.update(visible=False), "", {}, messages.wrong(refusal)]
        if not reading.fields:
            said = messages.note("This file says nothing of how it was made.")
            return [gr.update(visible=False), "", {}, said]
        used, notes = usable(served, reading.fields)
        picture = await asyncio.to_thread(_picture, data)
        html = picture + tiles.settings(used) + _left_out([*reading.notes, *notes])
        said = messages.note("Text → picture is filled with these.")
        return [gr.update(visible=True), html, used, said]

    async def clear(session: Session) -> Values:
        return [gr.update(visible=False), "", {}, messages.nothing()]

    async def fill(session: Session, used: dict[str, Any]) -> Parcel | None:
        return Parcel("text", used, show=False) if used else None

    async def go(session: Session, used: dict[str, Any]) -> Parcel:
        return Parcel("text", used)

    async def change(session: Session, used: dict[str, Any], data: bytes | None) -> Parcel:
        return Parcel("edit", used, picture=data)

    outputs = [found, shown, fields, message]
    after = page.on(file.upload, read, [file], outputs)
    page.send(after.success, fill, [fields])
    page.on(file.clear, clear, outputs=outputs)
    page.send(show.click, go, [fields], message=message)
    page.send(edit.click, change, [fields, file], message=message)


def _picture(data: bytes) -> str:
    """The picture itself, small; nothing where it cannot be decoded, as its text was read."""
    try:
        shown = base64.b64encode(small(data)).decode("ascii")
    except OSError:
        return ""
    return (
        f"<img class='sd-read' alt='The picture in the file' src='data:image/webp;base64,{shown}'>"
    )


def _left_out(notes: list[str]) -> str:
    if not notes:
        return ""
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<h2>Not used</h2><ul class='sd-left-out'>{listed}</ul>"
