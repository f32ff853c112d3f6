"""Screens of all sizes, and people who do not see them."""

from __future__ import annotations

import pytest

from tests.e2e.browser import needs_browser
from tests.e2e.ui.process import needs_page
from tests.e2e.ui.visitor import TABS, Visitor
from tests.effort import only_in_full

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
    found = []
    for scheme in ("light", "dark"):
        somebody.prefer(scheme)
        somebody.open()
        for tab in TABS:
            somebody.go_to(tab)
            found += [f"{scheme}, {tab}: {each}" for each in somebody.violations()]

    assert found == []
