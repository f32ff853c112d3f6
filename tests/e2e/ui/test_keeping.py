"""What is kept: parameters in files, the history of a browser, and that of a key."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver

from tests.e2e.browser import needs_browser
from tests.e2e.ui.house import House
from tests.e2e.ui.process import needs_page, page
from tests.e2e.ui.visitor import PROMPT, Visitor, visitor
from tests.effort import only_in_full
from tests.integration.server import wait_until

pytestmark = [*needs_browser, needs_page, only_in_full, pytest.mark.slow]

OTHER = "a green apple on a yellow background"


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


def test_the_history_is_there_after_a_restart(
    browser: WebDriver, house: House, somebody: Visitor
) -> None:
    """Of both; and it is that of this browser alone."""
    somebody.make(22, OTHER)
    house.stop()
    house.start()
    with visitor(browser, house.page.url) as another:
        another.open()
        another.go_to("history")
        wait_until(lambda: "appears here" in another.said("sd-history-list"), "an empty history")
    somebody.open()
    somebody.go_to("history")
    wait_until(lambda: OTHER in somebody.said("sd-history-list"), "what was made before")
    count = len(somebody.pictures("sd-history-list"))

    somebody.press("#sd-history-list button")
    somebody.press("sd-history-delete")
    somebody.press("sd-history-for-good")
    wait_until(lambda: len(somebody.pictures("sd-history-list")) == count - 1, "one picture less")


def test_each_key_has_its_own_history(browser: WebDriver, house: House, tmp_path: Path) -> None:
    """Where the page has none of its own, nothing is to be seen without one."""
    alices, bobs = house.key("alice"), house.key("bob")
    with (
        page(house.service.url, tmp_path) as walled,
        visitor(browser, walled.url) as alice,
        visitor(browser, walled.url) as bob,
    ):
        alice.open()
        assert alice.shows("sd-wall")
        assert not alice.shows("sd-tabs")
        enter(alice, "sd_000000000000_wrong")
        wait_until(lambda: "none of its own" in alice.said("sd-state"), "the refusal")
        assert not alice.shows("sd-tabs")

        enter(alice, alices)
        wait_until(lambda: alice.shows("sd-tabs"), "the page behind the wall")
        alice.make(23)
        alice.open()
        assert alice.shows("sd-tabs"), "the key has to survive a reload"
        alice.go_to("history")
        wait_until(lambda: PROMPT in alice.said("sd-history-list"), "what Alice has made")

        bob.open()
        assert bob.shows("sd-wall")
        enter(bob, bobs)
        wait_until(lambda: bob.shows("sd-tabs"), "the page behind the wall")
        bob.go_to("history")
        wait_until(lambda: "appears here" in bob.said("sd-history-list"), "an empty history")


def enter(somebody: Visitor, key: str) -> None:
    """Give the page a key."""
    somebody.write("sd-key", key)
    somebody.press("sd-key-enter")
