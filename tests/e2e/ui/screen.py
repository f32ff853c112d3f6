"""The screen of a visitor: its size, its colours, and what somebody finds who does not see it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from selenium.webdriver.chrome.webdriver import WebDriver

from tests.integration.server import wait_until

# What axe-core calls so: https://github.com/dequelabs/axe-core/blob/develop/doc/rule-descriptions.md
SERIOUS: Final = ("serious", "critical")


class Screen:
    """A window of a browser.

    Args:
        browser: that of all visitors.
        window: his own, of ``browser.window_handles``.
    """

    def __init__(self, browser: WebDriver, window: str) -> None:
        self._browser = browser
        self._window = window

    @property
    def browser(self) -> WebDriver:
        """The browser, with his window in front."""
        self._browser.switch_to.window(self._window)
        return self._browser

    def resize(self, width: int, height: int = 900) -> None:
        """Have a screen of that size, in pixels; the window of the browser may not be as narrow."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def prefer(self, scheme: str) -> None:
        """Prefer ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        script = (
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return int(self.browser.execute_script(script))

    def _has_its_colours(self) -> bool:
        script = """
            const prefersDark = matchMedia("(prefers-color-scheme: dark)").matches;
            return document.body.classList.contains("dark") === prefersDark
                && !document.getAnimations().some((one) => one.playState === "running")"""
        return bool(self.browser.execute_script(script))

    def violations(self) -> list[str]:
        """What axe-core finds that is serious or worse, a line each."""
        wait_until(self._has_its_colours, "the colours that are preferred")
        script = """
            const done = arguments[arguments.length - 1];
            axe.run(document, {resultTypes: ['violations']}).then(done)"""
        if not self.browser.execute_script("return 'axe' in window"):
            self.browser.execute_script(_axe())
        found: dict[str, Any] = self.browser.execute_async_script(script)
        return [
            f"{one['id']}: {one['help']}: {node['html'][:200]}"
            for one in found["violations"]
            if one["impact"] in SERIOUS
            for node in one["nodes"]
        ]


def _axe() -> str:
    """axe-core. The package brings it along, and is not imported: it is for Playwright."""
    package = find_spec("axe_playwright_python")
    assert package is not None, "axe-playwright-python is not installed"
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0], "axe.min.js").read_text(encoding="utf-8")
