from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.server import Server, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave it as it was."""
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server
