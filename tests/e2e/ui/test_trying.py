"""What is tried out: a refiner, a grid, a fine-tuned subject, the classifier."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from tests.e2e.browser import needs_browser
from tests.e2e.ui.house import TOKEN, TUNED, House
from tests.e2e.ui.process import needs_page
from tests.e2e.ui.visitor import PROMPT, Visitor
from tests.effort import only_in_full
from tests.integration.server import wait_until

pytestmark = [*needs_browser, needs_page, only_in_full, pytest.mark.slow]

STEPS = 4


def opened(file: bytes) -> Image.Image:
    return Image.open(BytesIO(file)).convert("RGB")


def differ(one: Image.Image, other: Image.Image) -> bool:
    return ImageChops.difference(one, other).getbbox() is not None


def test_a_refiner_takes_over_at_the_switch_point(somebody: Visitor, house: House) -> None:
    assert not somebody.shows("sd-text-refine"), "the default model has no refiner"
    somebody.choose("sd-text-model", "embedded-xl")
    # The model's own defaults come with it, in the place of what was there.
    somebody.element("sd-text-refiner-part")
    somebody.write("sd-text-num_inference_steps", str(STEPS))
    (alone,) = somebody.make(3)
    somebody.press("#sd-text-refiner-part > button")
    somebody.tick("sd-text-refine")
    assert somebody.value("sd-text-refiner") == "embedded-xl-refiner"
    pictures = {}
    for switch in ("0.25", "0.75"):
        somebody.write("sd-text-switch_at", switch)
        (pictures[switch],) = somebody.make(3)

    shown = {name: opened(file) for name, file in {"": alone, **pictures}.items()}
    assert differ(shown["0.25"], shown["0.75"])
    assert differ(shown[""], shown["0.75"])
    # The page sends what the API calls so.
    told = house.service.client.post(
        "/txt2img",
        headers={"Authorization": f"Bearer {house.page_key}"},
        json={
            "prompt": PROMPT,
            "model": "embedded-xl",
            "seed": 3,
            "num_inference_steps": STEPS,
            "refiner": {"model": "embedded-xl-refiner", "switch_at": 0.75},
        },
    )
    assert told.status_code == 200, told.text
    assert not differ(opened(told.content), shown["0.75"])


def test_a_grid_is_one_picture_of_all(somebody: Visitor) -> None:
    somebody.go_to("grid")
    somebody.write("sd-grid-prompt", PROMPT)
    somebody.write("sd-grid-x-typed", "2-3")
    somebody.choose("sd-grid-y", "Words of the prompt")
    somebody.write("sd-grid-y-typed", "apple, penguin, kiwi")
    somebody.press("sd-grid-make")
    wait_until(
        lambda: (
            "kiwi” is" not in somebody.said("sd-grid-status")
            and "6 of 6 pictures." in somebody.said("sd-grid-status")
        ),
        "the whole grid",
    )
    (address,) = somebody.pictures("sd-grid-sheet")
    sheet = opened(somebody.file(address))

    # Pictures of 64 pixels are enlarged; at the edges are the labels.
    side = 192
    left, top = sheet.width - 2 * (side + 4), sheet.height - 3 * (side + 4)
    assert 0 < left < 2 * side
    cells = [
        sheet.crop((x, y, x + side, y + side))
        for x in (left, left + side + 4)
        for y in (top, top + side + 4, top + 2 * (side + 4))
    ]
    assert all(differ(one, other) for one in cells for other in cells if one is not other)
    # Each is a picture of the visitor's.
    somebody.go_to("history")
    wait_until(lambda: somebody.said("sd-history-list").count("kiwi") == 2, "them in the history")


def test_a_subject_has_an_example_and_is_used(somebody: Visitor) -> None:
    somebody.go_to("taught")
    wait_until(lambda: TOKEN in somebody.said("sd-taught-list"), "the word of the subject")
    assert TUNED in somebody.said("sd-taught-list")
    assert "No example yet" in somebody.said("sd-taught-list")
    somebody.press('#sd-taught-list [data-tell="submit"]')
    wait_until(lambda: somebody.pictures("sd-taught-list"), "its example")
    assert "No example yet" not in somebody.said("sd-taught-list")

    somebody.press('#sd-taught-list [data-tell="select"]')
    wait_until(lambda: somebody.shows("sd-text-prompt"), "the form")
    wait_until(lambda: somebody.value("sd-text-model") == TUNED, "the model in the form")
    assert somebody.value("sd-text-prompt") == f"a {TOKEN}"


def test_pictures_are_classified(somebody: Visitor, house: House, tmp_path: Path) -> None:
    file = tmp_path / "apple.png"
    somebody.choose("sd-text-model", "embedded")
    (made,) = somebody.make(7)
    file.write_bytes(made)
    somebody.go_to("classify")
    somebody.drop("sd-classify-picture", file)
    wait_until(lambda: "%" in somebody.said("sd-classify-labels"), "what it is taken for")
    assert "apple" in somebody.said("sd-classify-labels").splitlines()[1]
