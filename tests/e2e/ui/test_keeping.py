"""What is kept: the history of a browser, and that of a key."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.keys import Keys

from tests.e2e.browser import needs_browser
from tests.e2e.ui.house import House
from tests.e2e.ui.process import needs_page, page
from tests.e2e.ui.visitor import PROMPT, Visitor, visitor
from tests.effort import only_in_full
from tests.integration.server import wait_until

pytestmark = [*needs_browser, needs_page, only_in_full, pytest.mark.slow]

OTHER = "a green apple on a yellow background"


def test_the_history_is_there_after_a_restart(
    browser: WebDriver, house: House, somebody: Visitor
) -> None:
    """Of both; and it is that of this browser alone."""
    somebody.write("sd-text-num_inference_steps", "5")
    somebody.make(21)
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
    search(somebody, "pineapple", "There is none with")
    search(somebody, "GREEN apple", OTHER)
    assert PROMPT not in somebody.said("sd-history-list")
    search(somebody, "", PROMPT)
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
        wait_until(lambda: "does not know this key" in alice.said("sd-state"), "the refusal")
        assert not alice.shows("sd-tabs")

        enter(alice, alices)
        wait_until(alice.knows_models, "the page behind the wall")
        alice.make(23)
        alice.open()
        assert alice.shows("sd-tabs"), "the key has to survive a reload"
        alice.go_to("history")
        wait_until(lambda: PROMPT in alice.said("sd-history-list"), "what Alice has made")

        bob.open()
        assert bob.shows("sd-wall")
        enter(bob, bobs)
        wait_until(bob.knows_models, "the page behind the wall")
        bob.go_to("history")
        wait_until(lambda: "appears here" in bob.said("sd-history-list"), "an empty history")

        house.revoke("alice")
        alice.go_to("text")
        alice.press("sd-text-make")
        fault = "sd-text-order-fault"
        wait_until(lambda: "does not know this key" in alice.said(fault), "that it was revoked")
        alice.press(f"#{fault} a")
        wait_until(lambda: not alice.shows("sd-tabs") and alice.shows("sd-key"), "the wall")
        enter(alice, bobs)
        wait_until(alice.knows_models, "the page of the other key")
        assert not alice.pictures("sd-text-gallery")


def search(somebody: Visitor, words: str, expected: str) -> None:
    """Search the history, and wait for what is found."""
    somebody.write("sd-history-search", words)
    somebody.field("sd-history-search").send_keys(Keys.ENTER)
    wait_until(lambda: expected in somebody.said("sd-history-list"), f"what “{words}” finds")


def enter(somebody: Visitor, key: str) -> None:
    """Give the page a key."""
    somebody.write("sd-key", key)
    somebody.press("sd-key-enter")
