"""The pictures of the page in docs/images, of the page as it is: ``python -m docs.ui_pictures``.

Needs Chromium, ``.venv`` and ``.venv-ui``. It starts a service with the models that ship, and the
page, and drives them as the tests do (``tests.e2e.ui``).
"""

from __future__ import annotations

import argparse
import base64
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image

from tests.conftest import ROOT
from tests.e2e.browser import started
from tests.e2e.ui.process import page
from tests.e2e.ui.visitor import Visitor, visitor
from tests.integration.server import serving, wait_until

IMAGES: Final = ROOT / "docs" / "images"
MOST_BYTES: Final = 300_000
WIDE: Final = (1360, 940)
PHONE: Final = (390, 844)
PROMPTS: Final = (
    "a red apple on a blue background",
    "a penguin on an orange background",
    "a slice of pizza on a purple background",
    "a sunflower on a green background",
    "a butterfly on a yellow background",
    "a lemon on a teal background",
    "a guitar on a white background",
    "a ladybug on a pink background",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pictures of all states, or of those that are named."""
    parser = argparse.ArgumentParser(prog="python -m docs.ui_pictures", description=__doc__)
    parser.add_argument("state", nargs="*", choices=[*STATES, []], help="default: all")
    parser.add_argument("--out", type=Path, default=IMAGES)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(serving(folder, host="local", SD_MODELS="embedded"))
        process = stack.enter_context(page(server.url, folder))
        browser = stack.enter_context(started())
        somebody = stack.enter_context(visitor(browser, process.url))
        somebody.browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        for number, state in enumerate(options.state or STATES):
            somebody.prefer("light")
            somebody.resize(*WIDE)
            somebody.open()
            if number:
                # The form is filled with the latest order then, too.
                wait_until(lambda: somebody.pictures("sd-text-gallery"), "what was made before")
            STATES[state](somebody)
            file = options.out / f"ui-{state}.png"
            file.write_bytes(_shot(somebody))
            print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


def _shot(somebody: Visitor) -> bytes:
    """What is on the screen, as a PNG; smaller where it would take too many bytes."""
    somebody.browser.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
    # No button under the mouse.
    away = {"type": "mouseMoved", "x": 0, "y": 0}
    somebody.browser.execute_cdp_cmd("Input.dispatchMouseEvent", away)
    shot = base64.b64decode(somebody.browser.get_screenshot_as_base64())
    picture = Image.open(BytesIO(shot)).convert("RGB")
    for share in (1.0, 0.8, 0.7, 0.6, 0.5):
        size = (round(picture.width * share), round(picture.height * share))
        written = BytesIO()
        picture.resize(size, Image.Resampling.LANCZOS).save(written, "PNG", optimize=True)
        if written.tell() < MOST_BYTES:
            break
    return written.getvalue()


def _text(somebody: Visitor) -> None:
    somebody.write("sd-text-num_images", "4")
    somebody.make(7, PROMPTS[0])


def _progress(somebody: Visitor) -> None:
    somebody.write("sd-text-prompt", PROMPTS[1])
    somebody.write("sd-text-num_images", "4")
    somebody.write("sd-text-num_inference_steps", "100")
    somebody.press("sd-text-make")
    wait_until(lambda: "left" in somebody.said("sd-text-status"), "the time that is left")
    wait_until(lambda: len(somebody.pictures("sd-text-gallery")) == 4, "unfinished pictures")


def _inpaint(somebody: Visitor) -> None:
    somebody.make(7, PROMPTS[0])
    somebody.press('#sd-text-gallery [data-action="inpaint"]')
    somebody.paint("sd-edit-picture")
    somebody.make(5, "a lemon on a green background", tab="edit")


def _phone(somebody: Visitor) -> None:
    somebody.resize(*PHONE)
    somebody.prefer("dark")
    somebody.open()


def _history(somebody: Visitor) -> None:
    somebody.write("sd-text-num_images", "1")
    for seed, prompt in enumerate(PROMPTS):
        somebody.make(seed, prompt)
    somebody.go_to("history")
    wait_until(lambda: len(somebody.pictures("sd-history-list")) >= len(PROMPTS), "thumbnails")


def _compare(somebody: Visitor) -> None:
    somebody.go_to("grid")
    somebody.write("sd-grid-prompt", PROMPTS[0])
    somebody.write("sd-grid-x-typed", "2, 4, 8, 16")
    somebody.choose("sd-grid-y", "Words of the prompt")
    somebody.write("sd-grid-y-typed", "apple, penguin, sunflower")
    somebody.write("sd-grid-seed", "7")
    somebody.tick("sd-grid-lock")
    somebody.press("sd-grid-make")
    wait_until(lambda: "12 of 12 pictures." in somebody.said("sd-grid-status"), "the grid")
    wait_until(lambda: somebody.pictures("sd-grid-sheet"), "the grid as a picture")


STATES: Final[dict[str, Callable[[Visitor], None]]] = {
    # The first: nothing else has been made.
    "history": _history,
    "text": _text,
    "inpaint": _inpaint,
    "phone": _phone,
    "compare": _compare,
    # The last: it goes on.
    "progress": _progress,
}


if __name__ == "__main__":
    main()
