"""Read parameters: files of this service, and of the AUTOMATIC1111 web UI, fill the form."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By

from tests import webui_files
from tests.e2e.browser import needs_browser
from tests.e2e.ui.house import MAX_PIXELS, TUNED, House
from tests.e2e.ui.process import needs_page
from tests.e2e.ui.visitor import Visitor, visitor
from tests.effort import only_in_full
from tests.integration.server import wait_until

pytestmark = [*needs_browser, needs_page, only_in_full, pytest.mark.slow]

OTHER = "a green apple on a yellow background"
FIELDS = (
    *("prompt", "negative_prompt", "model", "num_inference_steps", "guidance_scale"),
    *("scheduler", "seed", "width", "height"),
)
CLEAR = "#sd-parameters-file button[aria-label='Clear']"
# As the web UI writes them.
THEIRS = {
    "PNG": """\
a (red:1.2) apple, sharp <lora:clay:0.75> <lora:add_detail:1>
Negative prompt: blurry, [frame]
Steps: 23, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 3456789012, \
Size: 512x512, Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Clip skip: 2, \
Lora hashes: "clay: 1f3b6c2a9d4e, add_detail: 7c6bad76eb54", Version: v1.10.1""",
    "JPEG": """\
an \u00c4pfel, \u6797\u6a8e
Steps: 30, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 12, \
Size: 768x1024, Model hash: 6ce0161689, Model: embedded, Denoising strength: 0.7, \
Hires upscale: 2, Hires upscaler: Latent, Version: v1.10.1""",
    "WEBP": f"""\
{OTHER} <lora:clay:0.5>
Steps: 5, Sampler: DDIM, Schedule type: Automatic, CFG scale: 3, Seed: 9, Size: 64x64, \
Model hash: 6ce0161689, Model: embedded, Version: v1.10.1""",
}


def test_a_file_fills_the_form_that_made_it(
    browser: WebDriver, house: House, somebody: Visitor, tmp_path: Path
) -> None:
    somebody.write("sd-text-num_inference_steps", "5")
    (made,) = somebody.make(21, OTHER)
    file = tmp_path / "made.png"
    file.write_bytes(made)
    with visitor(browser, house.page.url) as another:
        another.open()
        another.go_to("parameters")
        another.upload("sd-parameters-file", file)
        another.press("sd-parameters-show")

        wait_until(lambda: another.shows("sd-text-prompt"), "the form")
        wait_until(lambda: another.value("sd-text-prompt") == OTHER, "the prompt in the form")
        assert another.value("sd-text-seed") == "21"
        assert another.value("sd-text-num_inference_steps") == "5"
        (again,) = another.make(21, OTHER)
    assert again == made


@pytest.fixture(scope="module")
def web_ui_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files with the texts above."""
    folder = tmp_path_factory.mktemp("web-ui")
    files = {}
    for file_format, text in THEIRS.items():
        files[file_format] = folder / f"00001.{file_format.lower()}"
        picture = Image.new("RGB", (64, 64), "teal")
        files[file_format].write_bytes(webui_files.saved(picture, file_format, text))
    return files


def test_files_of_the_web_ui_fill_the_form(
    somebody: Visitor, web_ui_files: dict[str, Path]
) -> None:
    """In its own words; and what is not followed is said."""
    form = give(somebody, web_ui_files["PNG"], "(red:1.2)")
    assert form == {
        "prompt": "a (red:1.2) apple, sharp",
        "negative_prompt": "blurry, (frame:0.909091)",
        "model": "embedded",
        "num_inference_steps": "23",
        "guidance_scale": "6.5",
        "scheduler": "dpmpp_2m_karras",
        "seed": "3456789012",
        "width": "512",
        "height": "512",
    }
    assert somebody.value("sd-text-scale_0") == "0.75"
    assert TUNED in somebody.said("sd-text-loras")
    for name in ("v1-5-pruned-emaonly", "add_detail", "Clip skip"):
        assert name in left_out(somebody), name

    form = give(somebody, web_ui_files["JPEG"], "\u6797\u6a8e")
    assert (form["scheduler"], form["width"], form["height"]) == ("euler_a", "64", "64")
    for sentence in (f"768 × 1024 is more than {MAX_PIXELS} pixels", "Hires upscaler", "Denoising"):
        assert sentence in left_out(somebody), sentence

    form = give(somebody, web_ui_files["WEBP"], OTHER)
    assert left_out(somebody) == ""
    somebody.go_to("text")
    (made,) = somebody.make(9, form["prompt"])
    said = Image.open(BytesIO(made)).text["parameters"]  # type: ignore[attr-defined]
    for part in (OTHER, "Steps: 5", "CFG scale: 3", "Seed: 9", f"{TUNED}:", "0.5"):
        assert part in said, part


def give(somebody: Visitor, file: Path, expected: str) -> dict[str, str]:
    """Drop a file where parameters are read; what the form has then."""
    somebody.go_to("parameters")
    if somebody.browser.find_elements(By.CSS_SELECTOR, CLEAR):
        somebody.press(CLEAR)
    somebody.drop("sd-parameters-file", file)
    wait_until(lambda: expected in somebody.said("sd-parameters-text"), "what the file says")
    somebody.press("sd-parameters-show")
    wait_until(lambda: somebody.shows("sd-text-prompt"), "the form")
    wait_until(lambda: expected in somebody.value("sd-text-prompt"), "the prompt in the form")
    # Where a LoRA stood in a prompt, there is room.
    return {name: somebody.value(f"sd-text-{name}").strip() for name in FIELDS}


def left_out(somebody: Visitor) -> str:
    """What the page says that it did not use."""
    somebody.go_to("parameters")
    return somebody.said("sd-parameters-text").partition("Not used")[2]
