"""Shared by the tests of the page."""

from __future__ import annotations

import pytest

from tests.unit.api.conftest import ColourBackend


@pytest.fixture
def backend() -> ColourBackend:
    return ColourBackend()
