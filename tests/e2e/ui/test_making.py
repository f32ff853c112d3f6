"""Pictures from texts, made in a browser."""

from __future__ import annotations

import re
from io import BytesIO
from urllib.parse import urlsplit

import pytest
from PIL import Image
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.e2e.browser import needs_browser, severe_lines
from tests.e2e.ui.house import House
from tests.e2e.ui.process import needs_page
from tests.e2e.ui.visitor import PROMPT, Visitor, requested
from tests.effort import only_in_full
from tests.integration.server import wait_until

pytestmark = [*needs_browser, needs_page, only_in_full, pytest.mark.slow]


def test_a_picture_is_that_of_its_seed(somebody: Visitor) -> None:
    somebody.write("sd-text-num_inference_steps", "6")
    (first,), (again,), (other,) = (somebody.make(seed) for seed in (7, 7, 8))

    assert Image.open(BytesIO(first)).format == "PNG"
    assert first == again
    assert Image.open(BytesIO(first)).tobytes() != Image.open(BytesIO(other)).tobytes()
    somebody.write("sd-text-num_images", "3")
    assert len(set(somebody.make(7))) == 3
    # What makes it again is in the file.
    assert PROMPT in Image.open(BytesIO(first)).text["parameters"]  # type: ignore[attr-defined]


def test_a_picture_is_the_beginning_of_others(somebody: Visitor) -> None:
    """By the buttons of its card: its file, the same again, another seed, the tab for pictures."""
    somebody.write("sd-text-num_images", "1")
    (made,) = somebody.make(31)
    link = somebody.element("#sd-text-gallery .sd-download")
    assert link.get_attribute("download") == "embedded-31.png"
    assert somebody.file(str(link.get_attribute("href"))) == made

    assert somebody.remake("again") == [made]
    (other,) = somebody.remake("vary")
    assert other != made
    assert somebody.value("sd-text-seed") != "31"
    somebody.press("#sd-text-gallery [data-action='edit']")
    wait_until(lambda: somebody.shows("sd-edit-prompt"), "the tab for pictures")
    wait_until(lambda: somebody.value("sd-edit-prompt") == PROMPT, "the prompt in its form")
    (third,) = somebody.make(5, tab="edit")
    assert third not in (made, other)


def begin_a_long_one(somebody: Visitor) -> None:
    """Far more than the test has time for."""
    somebody.go_to("text")
    somebody.write("sd-text-num_inference_steps", "150")
    somebody.write("sd-text-num_images", "4")
    for side in ("width", "height"):
        somebody.write(f"sd-text-{side}", "192")
    somebody.write("sd-text-prompt", PROMPT)
    ActionChains(somebody.browser).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(
        Keys.CONTROL
    ).perform()
    wait_until(lambda: steps(somebody), "steps on the page")


def steps(somebody: Visitor) -> int:
    """How many are done, as the page says."""
    found = re.search(r"Step (\d+) of 600", somebody.said("sd-text-status"))
    return int(found[1]) if found else 0


def test_progress_is_seen_found_again_and_cancelled(somebody: Visitor, house: House) -> None:
    begin_a_long_one(somebody)
    seen = steps(somebody)
    wait_until(lambda: steps(somebody) > seen, "further steps")
    assert any(one.startswith("data:image/") for one in somebody.pictures("sd-text-gallery"))
    assert re.search(r"s left", somebody.said("sd-text-status"))
    bar = somebody.element("#sd-text-status progress")
    assert 0 < float(str(bar.get_property("value"))) < 1

    somebody.open()
    wait_until(lambda: steps(somebody) > seen, "the steps of what was begun before")

    somebody.press("sd-text-prompt")
    ActionChains(somebody.browser).send_keys(Keys.ESCAPE).perform()
    wait_until(lambda: not house.service.running(), "an engine without work")
    wait_until(
        lambda: "cancelled" in somebody.said("sd-text-status"), "that it was cancelled on the page"
    )
    assert somebody.element("sd-text-make").is_enabled()


def test_what_is_wrong_is_said_at_its_field(somebody: Visitor) -> None:
    somebody.open()
    somebody.write("sd-text-prompt", PROMPT)
    somebody.write("sd-text-width", "65")
    somebody.press("sd-text-make")
    wait_until(lambda: "multiple of 8" in somebody.said("sd-text-width-fault"), "the sentence")
    assert somebody.element("sd-text-make").is_enabled()

    somebody.write("sd-text-width", "64")
    somebody.write("sd-text-prompt", "")
    somebody.browser.execute_script(
        """
        const field = document.querySelector("#sd-text-prompt textarea");
        field.value = "x".repeat(2001);
        field.dispatchEvent(new Event("input", {bubbles: true}));"""
    )
    somebody.press("sd-text-make")
    wait_until(lambda: "2000" in somebody.said("sd-text-prompt-fault"), "the sentence")
    assert not somebody.shows("sd-text-width-fault")


def test_nothing_comes_from_elsewhere(browser: WebDriver, somebody: Visitor, house: House) -> None:
    # Pages that others have left tell of the requests that they gave up.
    severe_lines(browser)
    somebody.open()
    addresses = list(map(urlsplit, requested(browser)))
    over_http = [address for address in addresses if address.scheme not in {"data", "blob"}]

    assert house.page.port in {address.port for address in over_http}
    # Visitors come to the page by names of their own.
    assert all(str(address.hostname).endswith(".localhost") for address in over_http)
    assert severe_lines(browser) == []
