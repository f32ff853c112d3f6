"""The server that the suite abuses: one for all of it, so that what is left behind adds up.

Another one is killed part by part, and stopped.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.abuse.target import SETTINGS, Target, warm_up
from tests.integration.server import serving

Start = Callable[..., AbstractContextManager[Target]]

# The memory is that after all the rest.
_ORDER = (
    "test_raw_sockets",
    "test_hostile_json",
    "test_hostile_pictures",
    "test_kserve",
    "test_a1111",
    "test_openai",
    "test_schema",
    "test_slow_clients",
    "test_overload",
    "test_memory",
    "test_local_host",
    "test_faults",
)

# The soft limit of open files as it is on most systems.
_FEW_FILES = ("sh", "-c", 'ulimit -S -n 1024 && exec "$@"', "sh")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the files of this folder into their order, wherever they are among the others."""
    folder = Path(__file__).parent
    places = [place for place, item in enumerate(items) if item.path.parent == folder]
    ours = sorted((items[place] for place in places), key=lambda item: _ORDER.index(item.path.stem))
    for place, item in zip(places, ours, strict=True):
        items[place] = item


@pytest.fixture(scope="session", autouse=True)
def _many_sockets() -> None:
    """Clients in their hundreds need descriptors too."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Start a BentoML host with limits that are soon reached, under ``ulimit -Sn 1024``."""

    @contextmanager
    def start(name: str, **settings: str) -> Iterator[Target]:
        folder = tmp_path_factory.mktemp(name)
        with serving(folder, wrapper=_FEW_FILES, **SETTINGS, **settings) as server:
            yield Target(server)

    return start


@pytest.fixture(scope="session")
def abused(start: Start) -> Iterator[Target]:
    """A warmed-up server."""
    with start("abused") as abused:
        warm_up(abused)
        yield abused


@pytest.fixture(scope="module")
def pictures_afterwards(abused: Target) -> Iterator[None]:
    """For a file of tests: the server makes pictures after all of them."""
    yield
    abused.assert_idle()
    abused.assert_makes_pictures()


@pytest.fixture
def victim(abused: Target, pictures_afterwards: None) -> Iterator[Target]:
    """The server, for one test: it lives afterwards, in the same processes."""
    yield abused
    abused.assert_alive()
