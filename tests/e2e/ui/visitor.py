"""A visitor of the page: a tab of Chromium with a storage of its own."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.e2e.ui.screen import Screen
from tests.integration.server import wait_until

TABS: Final = {
    "text": "Text → picture",
    "edit": "Picture → picture",
    "history": "History",
    "parameters": "Read parameters",
    "grid": "Compare",
    "taught": "Fine-tuned",
    "classify": "Classify",
}
_NUMBERS: Final = count(1)
PROMPT: Final = "a red apple on a blue background"


class Visitor(Screen):
    """What somebody does with the page, in a tab of his own, by the ids of its elements.

    Args:
        browser: that of all visitors.
        url: of the page.
        window: his own, of ``browser.window_handles``.
    """

    def __init__(self, browser: WebDriver, url: str, window: str) -> None:
        super().__init__(browser, window)
        self._url = url

    def open(self) -> None:
        """Go to the page, or load it again, and wait until it may be used."""
        self.browser.get(self._url)
        wait_until(lambda: self.shows("sd-wall") or self.knows_models(), "a page to be used")

    def knows_models(self) -> bool:
        """Whether the form is filled, as it is when the page is usable."""
        script = "return document.querySelector('#sd-text-model input')?.value"
        return bool(self.browser.execute_script(script))

    def element(self, selector: str) -> WebElement:
        """The first element of a selector, or of an id, that is shown; waits for it."""
        wanted = selector if selector[0] in "#.[" else f"#{selector}"
        found: list[WebElement] = []

        def there() -> bool:
            found[:] = [
                one
                for one in self.browser.find_elements(By.CSS_SELECTOR, wanted)
                if one.is_displayed()
            ]
            return bool(found)

        wait_until(lambda: _steady(there), f"{wanted} on the page")
        return found[0]

    def shows(self, identifier: str) -> bool:
        """Whether an element is there and to be seen."""
        elements = self.browser.find_elements(By.ID, identifier)
        return _steady(lambda: any(one.is_displayed() for one in elements))

    def said(self, identifier: str) -> str:
        """The text of an element, as it is shown; empty where it is not."""
        elements = self.browser.find_elements(By.ID, identifier)
        try:
            return "\n".join(one.text for one in elements)
        except StaleElementReferenceException:
            return ""

    def field(self, identifier: str) -> WebElement:
        """What one writes into, of a component."""
        return self.element(f"#{identifier} textarea, #{identifier} input:not([type=range])")

    def write(self, identifier: str, text: str) -> None:
        """Replace what a field has."""
        field = self.field(identifier)
        field.click()
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text or Keys.DELETE)
        field.send_keys(Keys.TAB)

    def choose(self, identifier: str, option: str) -> None:
        """Take an option of a list."""
        self.field(identifier).click()
        options = f"#{identifier} [role=option], [role=listbox] [role=option]"

        def taken() -> bool:
            for one in self.browser.find_elements(By.CSS_SELECTOR, options):
                if one.text.removeprefix("✓").strip() == option:
                    one.click()
                    return True
            return False

        wait_until(lambda: _steady(taken), f"{option} among the options of {identifier}")

    def value(self, identifier: str) -> str:
        """What a field has."""
        return str(self.field(identifier).get_property("value"))

    def tick(self, identifier: str, *, is_on: bool = True) -> None:
        """Set a checkbox."""
        box = self.element(f"#{identifier} input[type=checkbox]")
        if box.is_selected() is not is_on:
            box.click()

    def press(self, identifier: str) -> None:
        """Click on an element, where it is."""
        element = self.element(identifier)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def go_to(self, tab: str) -> None:
        """Go to a tab, by its id; on a narrow screen some are in a menu."""
        if self.shows(f"sd-tab-{tab}-button"):
            self.press(f"sd-tab-{tab}-button")
            return
        self.press("#sd-tabs .overflow-menu > button")
        for one in self.browser.find_elements(
            By.CSS_SELECTOR, "#sd-tabs .overflow-dropdown button"
        ):
            if one.text.strip() == TABS[tab]:
                one.click()
                return
        raise AssertionError(f"no tab {tab}")

    def upload(self, identifier: str, file: Path) -> None:
        """Give a component a file."""
        selector = f"#{identifier} input[type=file]"
        wait_until(
            lambda: self.browser.find_elements(By.CSS_SELECTOR, selector), f"{selector} on the page"
        )
        self.browser.find_elements(By.CSS_SELECTOR, selector)[0].send_keys(str(file))

    def drop(self, identifier: str, file: Path) -> None:
        """Drag a file from elsewhere onto a component."""
        element = self.element(identifier)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        place = self.browser.execute_script(
            "const {x, y, width, height} = arguments[0].getBoundingClientRect();"
            "return {x: x + width / 2, y: y + height / 2}",
            element,
        )
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.browser.execute_cdp_cmd(
                "Input.dispatchDragEvent", {"type": kind, **place, "data": data}
            )

    def paste(self, file: Path) -> None:
        """Press Ctrl+V, with a file in the clipboard as its manager puts it there."""
        script = """
            const bytes = Uint8Array.from(atob(arguments[0]), (one) => one.charCodeAt(0));
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([bytes], arguments[1], {type: arguments[2]}));
            const told = {clipboardData, bubbles: true, cancelable: true};
            document.activeElement.dispatchEvent(new ClipboardEvent("paste", told));"""
        kind = f"image/{file.suffix.removeprefix('.').replace('jpg', 'jpeg')}"
        content = b64encode(file.read_bytes()).decode("ascii")
        self.browser.execute_script(script, content, file.name, kind)

    def paint(self, identifier: str) -> None:
        """Paint over the upper left quarter of the picture in an editor, with the mouse."""
        canvas = self.element(f"#{identifier} canvas")
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        side = min(canvas.size["width"], canvas.size["height"])
        actions = ActionChains(self.browser)
        for row in range(5):
            # The picture is in the middle; offsets are from there.
            x, y = -0.4 * side, (0.07 * row - 0.4) * side
            actions.move_to_element_with_offset(canvas, int(x), int(y)).click_and_hold()
            actions.move_by_offset(int(0.3 * side), 0).release()
        actions.perform()

    def pictures(self, identifier: str) -> list[str]:
        """The addresses of the pictures in an element, those that the browser has read."""
        script = """
            return [...document.querySelectorAll(`#${arguments[0]} img`)]
                .filter(one => one.complete && one.naturalWidth).map(one => one.src)"""
        found: list[str] = self.browser.execute_script(script, identifier)
        return list(dict.fromkeys(found))

    def make(self, seed: int, prompt: str = PROMPT, *, tab: str = "text") -> list[bytes]:
        """The files of the pictures that a tab makes, of what its form has and this."""
        self.write(f"sd-{tab}-prompt", prompt)
        self.write(f"sd-{tab}-seed", str(seed))
        self.tick(f"sd-{tab}-lock")
        before = self.pictures(f"sd-{tab}-gallery")
        self.press(f"sd-{tab}-make")
        wait_until(lambda: self._made(tab, before), "a picture on the page")
        return [self.file(address) for address in self.pictures(f"sd-{tab}-gallery")]

    def remake(self, action: str) -> list[bytes]:
        """The files that ``again`` or ``vary`` makes of the first picture of a text."""
        before = self.pictures("sd-text-gallery")
        self.press(f'#sd-text-gallery [data-action="{action}"]')
        wait_until(lambda: self._made("text", before), "another picture on the page")
        return [self.file(address) for address in self.pictures("sd-text-gallery")]

    def _made(self, tab: str, before: list[str]) -> bool:
        """Whether there are finished pictures, others than before, and nothing runs."""
        found = self.pictures(f"sd-{tab}-gallery")
        is_over = re.match(r"\d+ pictures?, in ", self.said(f"sd-{tab}-status"))
        return bool(is_over and found) and found != before and "data:" not in "".join(found)

    def file(self, address: str) -> bytes:
        """What is behind an address, as the page's own scripts get it."""
        script = """
            const [address, done] = arguments;
            fetch(address).then(answer => answer.arrayBuffer())
                .then(bytes => done([...new Uint8Array(bytes)]))"""
        numbers: list[int] = self.browser.execute_async_script(script, address)
        return bytes(numbers)

    def background(self, selector: str) -> list[int]:
        """Red, green and blue of what is behind an element."""
        script = "return getComputedStyle(arguments[0]).backgroundColor.match(/\\d+/g).map(Number)"
        found: list[int] = self.browser.execute_script(script, self.element(selector))
        return found[:3]


@contextmanager
def visitor(browser: WebDriver, url: str) -> Iterator[Visitor]:
    """Somebody whose browser has never been on the page; see ``Visitor``.

    He comes to it by a name of his own, and browsers keep what they keep by that. All names below
    ``localhost`` are this machine.
    """
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    name = f"visitor-{next(_NUMBERS)}.localhost"
    somebody = Visitor(browser, url.replace("127.0.0.1", name), browser.current_window_handle)
    try:
        somebody.resize(1280)
        yield somebody
    finally:
        somebody.browser.close()
        browser.switch_to.window(first)


def requested(browser: WebDriver) -> list[str]:
    """The addresses that the browser has asked for since the last call, in all windows."""
    entries: Sequence[dict[str, Any]] = browser.get_log("performance")  # type: ignore[no-untyped-call]
    messages = [json.loads(entry["message"])["message"] for entry in entries]
    return [
        one["params"]["request"]["url"]
        for one in messages
        if one["method"] == "Network.requestWillBeSent"
    ]


def _steady(look: Any) -> bool:
    """What ``look`` says; false where the page was drawn anew meanwhile."""
    try:
        return bool(look())
    except StaleElementReferenceException:
        return False
