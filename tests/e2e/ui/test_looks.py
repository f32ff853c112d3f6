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


@pytest.mark.parametrize("screen", [(390, 844), (1600, 900)], ids=["telephone", "desk"])
def test_every_tab_fits_and_is_read_out(somebody: Visitor, screen: tuple[int, int]) -> None:
    """By the width of the page, and what axe-core calls serious, in both schemes of colours."""
    somebody.resize(*screen)
    somebody.open()
    found, wider, brightness = [], {}, {}
    for tab in TABS:
        somebody.go_to(tab)
        if tab == "edit":
            somebody.press("sd-edit-make")
            wait_until(lambda: somebody.shows("sd-edit-image-fault"), "what is missing")
        wider[tab] = somebody.overflow()
        for scheme in ("light", "dark"):
            somebody.prefer(scheme)
            found += [f"{scheme}, {tab}: {each}" for each in somebody.violations()]
            if tab == "edit":
                brightness[scheme] = sum(somebody.background("#sd-edit-image-fault .sd-wrong"))

    assert found == []
    assert wider == dict.fromkeys(TABS, 0)
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
