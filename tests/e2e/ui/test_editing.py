"""Pictures from pictures, made in a browser: the mask is painted with the mouse."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.e2e.browser import needs_browser
from tests.e2e.ui.process import needs_page
from tests.e2e.ui.visitor import Visitor
from tests.effort import only_in_full
from tests.integration.server import wait_until

pytestmark = [*needs_browser, needs_page, only_in_full, pytest.mark.slow]

SIDE = 64
# Of EXIF: it is shown after a quarter turn clockwise.
ORIENTATION, TURNED = 0x0112, 6
Colour = tuple[int, int, int]
RED, BLUE, GREEN, GREY = (214, 48, 49), (45, 100, 215), (60, 160, 70), (128, 128, 128)


def photograph(file: Path, upper: Colour, lower: Colour) -> Path:
    """A file that lies on its side; upright, its halves have these colours."""
    upright = Image.new("RGB", (SIDE, SIDE), lower)
    upright.paste(upper, (0, 0, SIDE, SIDE // 2))
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED
    upright.rotate(90).save(file, exif=exif, quality=95)
    return file


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Upright, its upper half is red and its lower half is blue."""
    return photograph(tmp_path_factory.mktemp("photo") / "photo.jpg", RED, BLUE)


def test_only_what_is_painted_over_is_made_anew(somebody: Visitor, lying: Path) -> None:
    somebody.go_to("edit")
    somebody.element("#sd-edit-picture canvas")
    for is_last in (False, True):
        somebody.upload("sd-edit-picture", lying)
        try:
            wait_until(lambda: shown(somebody) == [RED, BLUE], "the picture in the editor", 30)
            break
        except AssertionError:
            # Gradio's editor loses what comes while it is being made.
            if is_last:
                raise
    somebody.paint("sd-edit-picture")
    somebody.write("sd-edit-num_inference_steps", "10")
    (made,) = somebody.make(5, "a lemon on a green background", tab="edit")

    picture = Image.open(BytesIO(made))
    assert picture.size == (SIDE, SIDE)
    pixels = np.asarray(picture.convert("RGB"), dtype=np.int16)
    # What is kept is as it was, and upright. A latent or two beside the mask are not.
    assert np.abs(pixels[2:26, 58:63] - RED).max() < 60
    assert np.abs(pixels[56:63, 2:62] - BLUE).max() < 60
    assert np.abs(pixels[8:24, 8:40] - RED).mean() > 20


def test_pictures_come_by_dragging_and_by_pasting(
    somebody: Visitor, lying: Path, tmp_path: Path
) -> None:
    """Upright; and without a mask, the whole picture is made anew."""
    somebody.open()
    somebody.go_to("edit")
    somebody.press("sd-edit-make")
    wait_until(
        lambda: "Put a picture here" in somebody.said("sd-edit-image-fault"),
        "what is missing, in a sentence",
    )
    somebody.write("sd-edit-num_inference_steps", "10")
    somebody.drop("sd-edit-picture", lying)
    wait_until(lambda: shown(somebody) == [RED, BLUE], "the picture in the editor")
    (much,) = somebody.make(5, "a lemon on a green background", tab="edit")
    assert np.abs(halves(much)[1] - BLUE).mean() > 5

    # One step of them.
    somebody.write("sd-edit-strength", "0.1")
    (little,) = somebody.make(6, "a lemon on a green background", tab="edit")
    assert [nearest(half.mean(axis=(0, 1))) for half in halves(little)] == [RED, BLUE]

    somebody.paste(photograph(tmp_path / "other.jpg", GREEN, GREY))
    wait_until(lambda: shown(somebody) == [GREEN, GREY], "the other one in its place")
    (pasted,) = somebody.make(7, "a lemon on a green background", tab="edit")
    assert [nearest(half.mean(axis=(0, 1))) for half in halves(pasted)] == [GREEN, GREY]


def halves(made: bytes) -> Sequence[np.ndarray[Any, Any]]:
    """The pixels of the upper and the lower half of a picture."""
    pixels = np.asarray(Image.open(BytesIO(made)).convert("RGB"), dtype=np.int16)
    return np.split(pixels, 2)


def shown(somebody: Visitor) -> list[Colour]:
    """The colours of the picture in the editor that are there, from above."""
    shot = somebody.element("#sd-edit-picture canvas").screenshot_as_png
    pixels = np.asarray(Image.open(BytesIO(shot)).convert("RGB"), dtype=np.int16)
    rows = {
        colour: np.nonzero(np.abs(pixels - colour).max(axis=2) < 40)[0]
        for colour in (RED, BLUE, GREEN, GREY)
    }
    there = [colour for colour, found in rows.items() if len(found) > 400]
    return sorted(there, key=lambda colour: float(rows[colour].mean()))


def nearest(colour: Any) -> Colour:
    """Which of the colours it is."""
    return min((RED, BLUE, GREEN, GREY), key=lambda one: np.abs(np.subtract(colour, one)).sum())
