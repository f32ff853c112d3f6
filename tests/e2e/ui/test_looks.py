"""Screens of all sizes, and people who do not see them."""

from __future__ import annotations

import time

import pytest

from tests.e2e.browser import needs_browser
from tests.e2e.ui.process import needs_page
from tests.e2e.ui.visitor import TABS, Visitor
from tests.effort import only_in_full
from tests.integration.server import wait_until

pytestmark = [*needs_browser, needs_page, only_in_full, pytest.mark.slow]


def test_no_tab_is_wider_than_a_telephone(somebody: Visitor) -> None:
    somebody.resize(390, 844)
    somebody.open()
    wider = {}
    for tab in TABS:
        somebody.go_to(tab)
        wider[tab] = somebody.overflow()
    somebody.resize(1600)

    assert wider == dict.fromkeys(TABS, 0)


def test_screen_readers_find_their_way(somebody: Visitor) -> None:
    """By what axe-core calls serious, in both schemes of colours."""
    found, brightness = [], {}
    for scheme in ("light", "dark"):
        somebody.prefer(scheme)
        somebody.open()
        for tab in TABS:
            somebody.go_to(tab)
            if tab == "edit":
                somebody.press("sd-edit-make")
                wait_until(lambda: somebody.shows("sd-edit-image-fault"), "what is missing")
                brightness[scheme] = sum(somebody.background("#sd-edit-image-fault .sd-wrong"))
            found += [f"{scheme}, {tab}: {each}" for each in somebody.violations()]

    assert found == []
    assert brightness["dark"] < 384 < brightness["light"]


def test_a_page_that_does_nothing_draws_nothing(somebody: Visitor) -> None:
    """Gradio's own would go on to count how long it has loaded."""
    script = """
        const frame = window.requestAnimationFrame.bind(window);
        window.sdFrames = 0;
        window.requestAnimationFrame = (callback) => {
            window.sdFrames += 1;
            return frame(callback);
        };
    """
    added = somebody.browser.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": script}
    )
    somebody.open()

    def is_still() -> bool:
        before = somebody.browser.execute_script("return window.sdFrames")
        time.sleep(1)
        return bool(somebody.browser.execute_script("return window.sdFrames") == before)

    wait_until(is_still, "a second without a frame")
    somebody.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
