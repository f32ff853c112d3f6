"""Swagger UI in a real browser: "Try it out" makes pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import uploads
from tests.integration.server import WAIT_SECONDS, Server

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.webdriver import WebDriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]


@pytest.fixture
def browser() -> Iterator[WebDriver]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1400,3000")
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield browser
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
    """Run an operation with the body that the page suggests, and with files in the order of their
    fields; returns the answer's element."""
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
    assert find(answer, ".response-col_status").text.startswith("200")
    picture = find(answer, "img")
    wait = WebDriverWait(browser, WAIT_SECONDS)
    script = "return arguments[0].naturalWidth"
    return bool(wait.until(lambda browser: browser.execute_script(script, picture)))


def test_try_it_out(bentoml_server: Server, browser: WebDriver, tmp_path: Path) -> None:
    upload = tmp_path / "in.jpg"
    upload.write_bytes(uploads.ODD["jpeg"][0])
    browser.get(bentoml_server.url)

    assert shows_a_picture(browser, try_it_out(browser, "txt2img"))
    assert shows_a_picture(browser, try_it_out(browser, "img2img", upload))
    assert shows_a_picture(browser, try_it_out(browser, "dreambooth"))
    assert shows_a_picture(browser, try_it_out(browser, "inpaint", upload, upload))

    script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    fetched = browser.execute_script(script)
    assert fetched
    assert all(url.startswith((bentoml_server.url, "data:", "blob:")) for url in fetched), fetched
    console = browser.get_log("browser")  # type: ignore[no-untyped-call]
    assert not [line for line in console if line["level"] == "SEVERE"]
