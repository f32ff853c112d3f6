"""A real browser, and what tests do with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.integration.server import WAIT_SECONDS

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]


@contextmanager
def started(*arguments: str, logs_network: bool = False) -> Iterator[WebDriver]:
    """Start Chromium without a window; ``arguments`` are further ones of its command line.

    Args:
        logs_network: whether ``get_log("performance")`` has what is asked for.
    """
    options = webdriver.ChromeOptions()
    if logs_network:
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.binary_location = CHROMIUM or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", *arguments):
        options.add_argument(argument)
    options.add_argument("--window-size=1400,3000")
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        browser.set_script_timeout(WAIT_SECONDS)
        yield browser
    finally:
        browser.quit()


def find(place: WebDriver | WebElement, selector: str) -> WebElement:
    """Wait for an element."""
    wait = WebDriverWait(place, WAIT_SECONDS)
    element = wait.until(
        lambda place: next(iter(place.find_elements(By.CSS_SELECTOR, selector)), 0)
    )
    assert isinstance(element, WebElement)
    return element


def try_it_out(browser: WebDriver, operation: str, *uploads: Path) -> WebElement:
    """Run an operation of Swagger UI with the body that the page suggests, and with files in the
    order of their fields; returns the answer's element."""
    block = find(browser, f"#operations-Pictures-{operation}")
    find(block, ".opblock-summary-control").click()
    find(block, ".try-out__btn").click()
    if uploads:
        find(block, "input[type=file]")
    inputs = block.find_elements(By.CSS_SELECTOR, "input[type=file]")
    for field, upload in zip(inputs, uploads, strict=True):
        field.send_keys(str(upload))
    find(block, ".execute").click()
    return find(block, ".live-responses-table .response")


def shows_a_picture(browser: WebDriver, answer: WebElement) -> bool:
    """Whether an answer in Swagger UI is a picture that the browser can read."""
    assert find(answer, ".response-col_status").text.startswith("200")
    picture = find(answer, "img")
    wait = WebDriverWait(browser, WAIT_SECONDS)
    script = "return arguments[0].naturalWidth"
    return bool(wait.until(lambda browser: browser.execute_script(script, picture)))


def severe_lines(browser: WebDriver) -> list[str]:
    """What the browser has complained of since the last call, refused styles and scripts too."""
    console = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [line["message"] for line in console if line["level"] == "SEVERE"]
