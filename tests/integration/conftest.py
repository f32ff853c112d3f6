"""The servers of the suites."""

from __future__ import annotations

import pytest

from tests.integration.server import Server


@pytest.fixture(scope="session", params=["server", "bentoml_server"])
def any_host(request: pytest.FixtureRequest) -> Server:
    """Each host in turn."""
    host = request.getfixturevalue(request.param)
    assert isinstance(host, Server)
    return host
