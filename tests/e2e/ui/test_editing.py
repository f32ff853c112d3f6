"""Pictures from pictures, made in a browser: the mask is painted with the mouse."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

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


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that lies on its side: upright, its upper half is red and its lower half is blue."""
    upright = Image.new("RGB", (SIDE, SIDE), (45, 100, 215))
    upright.paste((214, 48, 49), (0, 0, SIDE, SIDE // 2))
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED
    file = tmp_path_factory.mktemp("photo") / "photo.jpg"
    upright.rotate(90).save(file, exif=exif, quality=95)
    return file


def test_only_what_is_painted_over_is_made_anew(somebody: Visitor, lying: Path) -> None:
    somebody.go_to("edit")
    somebody.upload("sd-edit-picture", lying)
    wait_until(lambda: somebody.shows("sd-edit-picture"), "the editor")
    somebody.element("#sd-edit-picture canvas")
    somebody.paint("sd-edit-picture")
    somebody.write("sd-edit-num_inference_steps", "10")
    (made,) = somebody.make(5, "a yellow star on a green background", tab="edit")

    picture = Image.open(BytesIO(made))
    assert picture.size == (SIDE, SIDE)
    pixels = np.asarray(picture.convert("RGB"), dtype=np.int16)
    # What is kept is as it was, and upright.
    assert np.abs(pixels[2:30, 40:62] - (214, 48, 49)).max() < 60
    assert np.abs(pixels[40:62, 2:62] - (45, 100, 215)).max() < 60
    assert np.abs(pixels[4:24, 4:24] - (214, 48, 49)).mean() > 10


def test_without_a_mask_the_whole_picture_is(somebody: Visitor, lying: Path) -> None:
    somebody.open()
    somebody.go_to("edit")
    somebody.press("sd-edit-make")
    wait_until(
        lambda: (
            "Put a picture here" in somebody.said("sd-edit-image-fault")
            or "Put a picture here" in somebody.said("sd-edit-order-fault")
        ),
        "what is missing, in a sentence",
    )
    somebody.upload("sd-edit-picture", lying)
    somebody.element("#sd-edit-picture canvas")
    somebody.write("sd-edit-num_inference_steps", "10")
    (made,) = somebody.make(5, "a yellow star on a green background", tab="edit")

    pixels = np.asarray(Image.open(BytesIO(made)).convert("RGB"), dtype=np.int16)
    assert np.abs(pixels[40:62, 2:62] - (45, 100, 215)).mean() > 5
