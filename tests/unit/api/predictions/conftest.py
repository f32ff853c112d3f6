"""Predictions on both databases, without a server in front of them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.predictions.claims import Claim
from api.predictions.database import Database
from api.predictions.files import Files, FolderFiles
from api.predictions.intake import Intake
from api.predictions.leases import Leases
from api.predictions.measures import NoMeasures
from api.predictions.outbox import Outbox
from api.predictions.prediction import Options, Order
from api.predictions.predictions import Predictions
from api.predictions.store import Store
from benchmarks.postgresql import PostgreSQL, programs
from settings import Settings
from tests.conftest import make_request
from tests.effort import only_in_full
from tests.unit.api.conftest import ColourBackend

_databases = itertools.count()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A server for all tests of a process."""
    if programs() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    server = PostgreSQL()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, of each kind in turn."""
    return _empty(request, tmp_path)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=only_in_full)])
def usual_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same, for what the tests of the store leave little doubt about."""
    return _empty(request, tmp_path)


def _empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/predictions.sqlite"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.create(f"test{next(_databases)}")


@dataclass(frozen=True, slots=True)
class Opened:
    """A store, and what runs on its database."""

    database: Database
    store: Store
    intake: Intake
    leases: Leases
    outbox: Outbox


@asynccontextmanager
async def opened(url: str, lease: float = 60.0, attempts: int = 3) -> AsyncIterator[Opened]:
    """Connect to a database."""
    database = Database(url)
    await database.open()
    leases = Leases(database, lease, attempts)
    intake = Intake(database, no_claim)
    yield Opened(database, Store(database), intake, leases, Outbox(database, 0.01))
    await database.close()


@asynccontextmanager
async def no_claim() -> AsyncIterator[Claim]:
    """That of a process without slots."""
    yield Claim(lambda _: [])


def make_order(
    tenant: str = "anna", digest: str = "d", model: str = "tiny", **options: Any
) -> Order:
    """An order for a picture."""
    return Order(
        request=make_request(model=model),
        input={"prompt": "a red apple", "seed": 7},
        digest=digest,
        tenant=tenant,
        base_url="http://here",
        options=Options(**options),
    )


@asynccontextmanager
async def running(
    url: str, folder: Path, backend: ColourBackend, **settings: Any
) -> AsyncIterator[Predictions]:
    """Predictions of one process, which runs them on a backend."""
    predictions = make_predictions(url, folder, backend, **settings)
    await predictions.open()
    yield predictions
    predictions.stop_waiting()
    await predictions.finish(5)
    await predictions.close()


def make_predictions(
    url: str, folder: Path, backend: ColourBackend, files: Files | None = None, **settings: Any
) -> Predictions:
    """The same, not opened; ``files`` are in the folder unless they are given."""
    announced = url if url.startswith("postgresql") else None
    return Predictions(
        backend,
        Settings(**{"store": "none", **settings}),
        Database(url),
        files or FolderFiles(folder / "pictures"),
        NoMeasures(),
        announced,
    )
