"""One service, one page and one browser for all of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver

from tests.e2e.browser import started
from tests.e2e.ui.house import House
from tests.e2e.ui.visitor import Visitor, visitor


@pytest.fixture(scope="session")
def browser() -> Iterator[WebDriver]:
    with started(logs_network=True) as browser:
        yield browser


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("house"))
    yield house
    house.stop()


@pytest.fixture(scope="module")
def somebody(browser: WebDriver, house: House) -> Iterator[Visitor]:
    """A visitor who has the page open."""
    with visitor(browser, house.page.url) as somebody:
        somebody.open()
        yield somebody
