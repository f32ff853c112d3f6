"""History: the predictions of the visitor, the latest first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from html import escape
from typing import Any, Final

import gradio as gr

from ui import cards, messages, tiles
from ui.order import parcel
from ui.page import Page, Parcel, Values
from ui.prediction import Prediction
from ui.refusal import Refusal
from ui.session import Listing, Session
from ui.thumbnails import Thumbnails

_PAGE: Final = 12
_STATES: Final = {
    "starting": "Waiting",
    "processing": "Being made",
    "succeeded": "Finished",
    "failed": "Failed",
    "canceled": "Cancelled",
}
# What is shown in the place of a picture.
_ABSENT: Final = {**_STATES, "succeeded": "Deleted, as its time was over"}
_OF_KEY: Final = "All that was made with your key, here or elsewhere."
_OF_BROWSER: Final = (
    "What this browser has made here. Nobody else sees it, and you do not where the browser's data "
    "of this page is cleared."
)


def build(page: Page, tab: gr.Tab) -> None:
    """Fill the tab."""
    thumbnails = Thumbnails()
    # The cursors of the pages up to the one that is shown, and that of the one behind it.
    cursors, following = gr.State([]), gr.State(None)
    chosen = gr.State("")
    with gr.Column() as overview:
        whose = gr.HTML(elem_id="sd-history-whose")
        with gr.Row(elem_classes="sd-history-bar"):
            search = gr.Textbox(
                label="Search in prompts",
                max_lines=1,
                max_length=256,
                placeholder="Words, then Enter",
                scale=3,
                min_width=200,
                elem_id="sd-history-search",
            )
            status = gr.Dropdown(
                [("All", ""), *((text, name) for name, text in _STATES.items())],
                value="",
                label="State",
                min_width=120,
                elem_id="sd-history-status",
            )
            again = gr.Button(
                "Look again", scale=0, min_width=120, size="md", elem_id="sd-history-again"
            )
        message = messages.place("sd-history-message")
        shown = gr.HTML(js_on_load=tiles.TELL + tiles.LOCAL_TIMES, elem_id="sd-history-list")
        with gr.Row():
            newer, older = (
                gr.Button(
                    text,
                    scale=0,
                    min_width=120,
                    size="md",
                    interactive=False,
                    elem_id=f"sd-history-{text.lower()}",
                )
                for text in ("Newer", "Older")
            )
    with gr.Column(visible=False) as details:
        with gr.Row():
            back = gr.Button(
                "Back to all", scale=0, min_width=140, size="md", elem_id="sd-history-back"
            )
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=300):
                pictures = gr.HTML(js_on_load=tiles.TELL, elem_id="sd-history-pictures")
            with gr.Column(scale=2, min_width=300):
                about = gr.HTML(js_on_load=tiles.LOCAL_TIMES, elem_id="sd-history-about")
        with gr.Row():
            reuse = gr.Button("Use these settings", variant="primary", elem_id="sd-history-reuse")
            compare = gr.Button("Compare variations", elem_id="sd-history-compare")
            cancel = gr.Button("Cancel it", elem_id="sd-history-cancel")
            delete = gr.Button("Delete", elem_id="sd-history-delete")
            for_good = gr.Button("Delete for good", variant="stop", elem_id="sd-history-for-good")
            keep = gr.Button("Keep it", elem_id="sd-history-keep")
        told = messages.place("sd-history-told")

    listed = [whose, shown, cursors, following, newer, older]
    opened = [overview, details, about, pictures, chosen, cancel, delete, for_good, keep]

    async def look(
        session: Session, text: str, state: str, way: Sequence[str | None]
    ) -> AsyncIterator[Values]:
        way = list(way) or [None]
        found = await session.listing(
            cursor=way[-1], limit=_PAGE, status=state, search=text.strip()
        )
        around = [way, found.cursor]
        turns = [
            gr.update(interactive=len(way) > 1),
            gr.update(interactive=found.cursor is not None),
        ]
        sentence = _OF_KEY if session.has_own_key else _OF_BROWSER
        first = [f"<p class='sd-quiet'>{escape(sentence)}</p>"]
        if any(thumbnails.kept(_name(one)) is None for one in found.predictions if one.outputs):
            yield [*first, _tiles(found, thumbnails, text), *around, *turns]
        await asyncio.gather(*(_fetch(session, thumbnails, one) for one in found.predictions))
        yield [*first, _tiles(found, thumbnails, text), *around, *turns]

    async def from_start(session: Session, text: str, state: str) -> AsyncIterator[Values]:
        async for values in look(session, text, state, []):
            yield values

    async def turn_back(
        session: Session, text: str, state: str, way: Sequence[str | None]
    ) -> AsyncIterator[Values]:
        async for values in look(session, text, state, way[:-1]):
            yield values

    async def turn(
        session: Session, text: str, state: str, way: Sequence[str | None], cursor: str | None
    ) -> AsyncIterator[Values]:
        async for values in look(session, text, state, [*way, cursor] if cursor else way):
            yield values

    async def choose(session: Session, pressed: Mapping[str, Any]) -> Values:
        return _opened(await session.find(str(pressed.get("prediction"))))

    async def close(session: Session) -> Values:
        return [gr.update(visible=True), gr.update(visible=False), "", "", "", *_closed()]

    async def end(session: Session, identifier: str) -> Values:
        return _opened(await session.cancel(identifier))

    async def ask(session: Session) -> Values:
        return [gr.update(visible=False), gr.update(visible=True), gr.update(visible=True)]

    async def unask(session: Session) -> Values:
        return [gr.update(visible=True), gr.update(visible=False), gr.update(visible=False)]

    async def remove(session: Session, identifier: str) -> Values:
        thumbnails.forget(_name(await session.find(identifier)))
        await session.delete(identifier)
        return await close(session)

    async def settings(session: Session, identifier: str) -> Parcel:
        prediction = await session.find(identifier)
        return Parcel("text" if prediction.task == "txt2img" else "edit", prediction.fields)

    async def vary(session: Session, identifier: str) -> Parcel:
        return Parcel("grid", (await session.find(identifier)).fields)

    wanted = [search, status]
    for trigger in (tab.select, again.click):
        page.on(trigger, look, [*wanted, cursors], listed, message=message)
    for trigger in (search.submit, status.input):
        page.on(trigger, from_start, wanted, listed, message=message)
    page.on(newer.click, turn_back, [*wanted, cursors], listed, message=message)
    page.on(older.click, turn, [*wanted, cursors, following], listed, message=message)
    page.on(shown.select, choose, outputs=opened, message=message, told=True)
    page.on(back.click, close, outputs=opened, message=told)
    page.on(cancel.click, end, [chosen], opened, message=told)
    questions = [delete, for_good, keep]
    page.on(delete.click, ask, outputs=questions)
    page.on(keep.click, unask, outputs=questions)
    removed = page.on(for_good.click, remove, [chosen], opened, message=told)
    for after in (back.click, removed.success):
        page.on(after, look, [*wanted, cursors], listed, message=message)
    page.send(reuse.click, settings, [chosen], message=told)
    page.send(compare.click, vary, [chosen], message=told)
    page.send(pictures.click, parcel, message=told, told=True)


def _name(prediction: Prediction) -> str:
    """Of its first picture; an id may be used again when its prediction is deleted."""
    return f"{prediction.id} {prediction.created_at}"


async def _fetch(session: Session, thumbnails: Thumbnails, prediction: Prediction) -> None:
    if not prediction.outputs:
        return
    index = prediction.outputs[0].index
    try:
        await thumbnails.of(_name(prediction), lambda: session.output(prediction.id, index))
    except (Refusal, OSError):
        # Its tile says in words what it is.
        return


def _tiles(found: Listing, thumbnails: Thumbnails, text: str) -> str:
    if not found.predictions:
        nothing = "What you make appears here."
        if text.strip():
            nothing = f"There is none with “{text.strip()}” in its prompt."
        return f"<p class='sd-empty'>{escape(nothing)}</p>"
    listed = "".join(_tile(one, thumbnails.kept(_name(one))) for one in found.predictions)
    return f"<div class='sd-tiles'>{listed}</div>"


def _tile(prediction: Prediction, picture: bytes | None) -> str:
    prompt = str(prediction.input.get("prompt") or "No prompt")
    absent = "" if prediction.outputs else _ABSENT.get(prediction.status, prediction.status)
    count = len(prediction.outputs)
    remarks = [tiles.moment(prediction.created_at), escape(prediction.model)]
    if count > 1:
        remarks.append(f"{count} pictures")
    return (
        '<button type="button" class="sd-tile" data-tell="select" '
        f'data-prediction="{escape(prediction.id)}">{tiles.picture(picture, "", absent)}'
        f"<span class='sd-tile-prompt'>{escape(prompt)}</span>"
        f"<span class='sd-quiet'>{' · '.join(remarks)}</span></button>"
    )


def _opened(prediction: Prediction) -> Values:
    actions: tuple[str, ...] = ("edit", "inpaint")
    if prediction.task == "txt2img":
        actions += ("again", "vary")
    shown = "".join(cards.card(prediction, one, actions) for one in prediction.outputs)
    is_over = prediction.is_over
    return [
        gr.update(visible=False),
        gr.update(visible=True),
        _about(prediction),
        f"<div class='sd-gallery'>{shown}</div>" if shown else _no_pictures(prediction),
        prediction.id,
        gr.update(visible=not is_over),
        gr.update(visible=is_over),
        gr.update(visible=False),
        gr.update(visible=False),
    ]


def _no_pictures(prediction: Prediction) -> str:
    said = _ABSENT.get(prediction.status, prediction.status)
    return f"<p class='sd-empty'>{escape(said)}</p>"


def _closed() -> Values:
    return [gr.skip() for _ in range(4)]


def _about(prediction: Prediction) -> str:
    state = _ABSENT if prediction.is_removed else _STATES
    said = state.get(prediction.status, prediction.status)
    if prediction.error:
        said += f": {prediction.error}"
    if prediction.task != "txt2img":
        said += ". It was made from a picture that the service does not keep"
    return (
        f"<p class='sd-quiet'>{tiles.moment(prediction.created_at)} · {escape(said)}.</p>"
        f"{tiles.settings(prediction.fields)}"
    )
