"""The host without BentoML, for what is the same on each host: protocols, bounds of connections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.abuse.target import SETTINGS, Target, warm_up
from tests.integration.server import serving


@pytest.fixture(scope="session")
def abused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A warmed-up server."""
    with serving(tmp_path_factory.mktemp("abused"), host="local", **SETTINGS) as server:
        target = Target(server)
        warm_up(target, connections=32)
        yield target
