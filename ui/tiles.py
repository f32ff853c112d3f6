"""Tiles: HTML with buttons that tell the page which of them was pressed."""

from __future__ import annotations

import base64
from html import escape
from typing import Final

# For ``js_on_load`` of ``gr.HTML``: a press of what has ``data-tell`` is the event of that name, and its
# data is what is in the other ``data-`` attributes.
TELL: Final = """
element.addEventListener("click", (event) => {
  const pressed = event.target.closest("[data-tell]");
  if (pressed && element.contains(pressed)) trigger(pressed.dataset.tell, {...pressed.dataset});
});
"""


def picture(data: bytes | None, description: str, otherwise: str = "") -> str:
    """A small WebP as HTML; where there is none, a few words in its place."""
    if data is None:
        return f"<span class='sd-no-picture'>{escape(otherwise)}</span>"
    shown = base64.b64encode(data).decode("ascii")
    return f'<img alt="{escape(description)}" src="data:image/webp;base64,{shown}">'


def button(text: str, tell: str, style: str = "", **data: str | int) -> str:
    """A button within tiles."""
    told = "".join(f' data-{name}="{escape(str(value))}"' for name, value in data.items())
    return (
        f'<button type="button" class="sd-button {style}" data-tell="{tell}"{told}>'
        f"{escape(text)}</button>"
    )
