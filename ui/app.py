"""The shell: the key, the tabs, and what they have in common."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

import gradio as gr

from ui import classify, edit, grid, history, messages, parameters, taught, text
from ui.page import Page, Values
from ui.refusal import Refusal
from ui.served import Served
from ui.service import Service
from ui.session import Session

_FOLDER: Final = Path(__file__).parent
# What visitors drop onto the page is kept for an hour at most.
_CACHE_SECONDS: Final = (600, 3600)
# Each picture that is watched holds one of them.
_EVENTS: Final = 1000
_LOOK_SECONDS: Final = 0.02
_TABS: Final = (
    ("Text → picture", "text", text.build),
    ("Picture → picture", "edit", edit.build),
    ("History", "history", history.build),
    ("Read parameters", "parameters", parameters.build),
    ("Compare", "grid", grid.build),
    ("Fine-tuned", "taught", taught.build),
    ("Classify", "classify", classify.build),
)
# With another key the page begins anew: what was there is not for who has that one.
_ENTER_KEY: Final = "(key) => { window.sdKey.keep(key); window.location.reload(); }"
# The key comes twice: for the session, and for what the shell does with it.
_KEPT_KEY: Final = """(...values) => {
    values[0] = values[2] = window.sdKey.kept();
    return values;
}"""

CSS: Final = (_FOLDER / "style.css", _FOLDER / "tabs.css")
SCRIPT: Final = _FOLDER / "keys.js"
THEME: Final = gr.themes.Soft(
    primary_hue="indigo",
    neutral_hue="slate",
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(
    body_background_fill="*neutral_50",
    block_border_width="1px",
    checkbox_border_color="*neutral_400",
    checkbox_border_color_dark="*neutral_500",
    input_border_width="1px",
    input_border_color="*neutral_300",
    input_border_color_dark="*neutral_600",
    block_title_background_fill="transparent",
    block_title_background_fill_dark="transparent",
    block_title_padding="0",
    block_title_text_color="*body_text_color",
    block_title_text_color_dark="*body_text_color",
    block_title_text_weight="600",
    # What axe-core asks for: 4.5 to 1.
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover_dark="*primary_700",
    block_label_background_fill="*neutral_100",
    block_label_text_color="*neutral_700",
    block_label_background_fill_dark="*neutral_700",
    block_label_text_color_dark="*neutral_100",
    link_text_color="*primary_700",
    link_text_color_dark="*primary_300",
    link_text_color_visited="*primary_700",
    link_text_color_visited_dark="*primary_300",
    # Frames that are drawn for nothing, where the processor makes the picture.
    button_transition="none",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_400",
)


def build(service: Service) -> gr.Blocks:
    """The page of a service."""
    blocks = gr.Blocks(
        title="Stable Diffusion",
        analytics_enabled=False,
        delete_cache=_CACHE_SECONDS,
        fill_width=True,
    )
    blocks.max_threads = _EVENTS
    blocks.queue(default_concurrency_limit=None)
    # It would look for events a thousand times a second, and for progress of Gradio's own kind a
    # hundred times, which takes 7 % of a processor for nothing.
    blocks._queue.sleep_when_free = _LOOK_SECONDS
    blocks._queue.progress_update_sleep_when_free = 1.0
    with blocks:
        tag = gr.BrowserState("", storage_key="sd-visitor", secret=Page.SECRET)
        gr.HTML("<h1>Stable Diffusion</h1>", elem_id="sd-title")
        state = messages.place("sd-state")
        with gr.Accordion("Key", visible=False, elem_id="sd-wall") as wall:
            key = gr.Textbox(
                label="Key",
                info="It stays in this tab of your browser, until you close it.",
                type="password",
                max_lines=1,
                elem_id="sd-key",
            )
            enter = gr.Button("Use this key", variant="primary", elem_id="sd-key-enter")
        with gr.Tabs(elem_id="sd-tabs") as tabs:
            page = Page(service, key, tag, tabs)
            for label, identifier, fill in _TABS:
                with gr.Tab(label, id=identifier, elem_id=f"sd-tab-{identifier}") as tab:
                    fill(page, tab)
        page.finish()

        async def wanted(
            session: Session, given: str, visitor: str
        ) -> tuple[Values, Served | None, bool]:
            own = [given, visitor or secrets.token_hex(16)]
            try:
                served = await session.served()
            except Refusal as refusal:
                wall_there, tabs_there = refusal.wants_key, not refusal.wants_key
                shown, known = messages.wrong(refusal.sentence), None
            else:
                wall_there, tabs_there = session.has_own_key, True
                shown, known = messages.nothing(), served
            there = [
                gr.update(visible=wall_there, open=not tabs_there),
                gr.update(visible=tabs_there),
            ]
            return [*own, *there, shown], known, known is not None or wall_there

        outputs = [key, tag, wall, tabs, state]
        page.load(blocks.load, wanted, [key, tag], outputs, js=_KEPT_KEY)
        for trigger in (enter.click, key.submit):
            trigger(None, key, None, js=_ENTER_KEY)
    return blocks
