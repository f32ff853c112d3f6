"""Ray for the tests of its host, started once: ``make test-ray``."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from deployment.ray import namespace
from tests.integration.ray.cluster import Cluster, clustering


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip them, with the reason, where they cannot run. Ray is in an environment of its own."""
    reason = ""
    if importlib.util.find_spec("ray") is None:
        reason = "Ray is not installed here: make test-ray"
    elif not namespace.loopback_only():
        reason = "Ray looks for other machines, and there is a network: make test-ray"
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.ray)
            if reason:
                item.add_marker(pytest.mark.skip(reason))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    # Ray puts sockets into the folder, whose paths may have 107 characters.
    with TemporaryDirectory(prefix="ray-") as folder, clustering(Path(folder)) as cluster:
        yield cluster
