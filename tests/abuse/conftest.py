"""The server that the suite abuses: one for all of it, so that what is left behind adds up.

The protocols are abused on the local host, beside it; another server is killed part by part.
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
    "test_schema",
    "test_slow_clients",
    "test_overload",
    "test_memory",
    "local/test_bounds",
    "local/test_kserve",
    "local/test_a1111",
    "local/test_openai",
    "local/test_memory",
    "test_faults",
)

# The soft limit of open files as it is on most systems.
_FEW_FILES = ("sh", "-c", 'ulimit -S -n 1024 && exec "$@"', "sh")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the files of this folder into their order, wherever they are among the others."""
    folder = Path(__file__).parent
    places = [place for place, item in enumerate(items) if item.path.is_relative_to(folder)]

    def turn(item: pytest.Item) -> int:
        return _ORDER.index(str(item.path.relative_to(folder).with_suffix("")))

    for place, item in zip(
        places, sorted((items[place] for place in places), key=turn), strict=True
    ):
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
