"""Tiles: HTML with buttons that tell the page which of them was pressed."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from typing import Any, Final

from ui import cards

# For ``js_on_load`` of ``gr.HTML``: a press of what has ``data-tell`` is the event of that name,
# whose data is what is in the ``data-`` attributes.
TELL: Final = """
element.addEventListener("click", (event) => {
  const pressed = event.target.closest("[data-tell]");
  if (pressed && element.contains(pressed)) trigger(pressed.dataset.tell, {...pressed.dataset});
});
"""

# Likewise: times as the visitor's browser writes them.
LOCAL_TIMES: Final = """
const writeTimes = () => element.querySelectorAll("time").forEach((time) => {
  const moment = new Date(time.dateTime);
  time.textContent = moment.toLocaleString([], {dateStyle: "medium", timeStyle: "short"});
});
writeTimes();
watch("value", writeTimes);
"""


def picture(data: bytes | None, description: str, otherwise: str = "") -> str:
    """A small WebP as HTML; where there is none, a few words in its place."""
    if data is None:
        return f"<span class='sd-no-picture'>{escape(otherwise)}</span>"
    shown = base64.b64encode(data).decode("ascii")
    return f'<img alt="{escape(description)}" src="data:image/webp;base64,{shown}">'


def moment(written: str) -> str:
    """A time in RFC 3339 and UTC as HTML, which ``LOCAL_TIMES`` writes anew."""
    plain = f"{written[:10]} {written[11:16]} UTC"
    return f'<time datetime="{escape(written)}">{escape(plain)}</time>'


def settings(fields: Mapping[str, Any]) -> str:
    """Fields of the API as a list, the prompt above it."""
    prompt = escape(str(fields.get("prompt") or "No prompt"))
    rows = cards.settings_rows(fields)
    return f"<p class='sd-prompt'>{prompt}</p><dl class='sd-settings'>{rows}</dl>"


def button(text: str, tell: str, style: str = "", **data: str | int) -> str:
    """A button within tiles."""
    told = "".join(f' data-{name}="{escape(str(value))}"' for name, value in data.items())
    return (
        f'<button type="button" class="sd-button {style}" data-tell="{tell}"{told}>'
        f"{escape(text)}</button>"
    )
