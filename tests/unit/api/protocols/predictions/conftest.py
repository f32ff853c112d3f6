"""The protocols over a backend without an engine, with a store of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import create_app, middleware
from api.drain import Drain
from api.pictures import Pictures
from api.predictions.database import Database
from api.predictions.files import FolderFiles
from api.predictions.measures import NoMeasures
from api.predictions.opening import Opening
from api.predictions.predictions import Predictions
from api.protocols.base import Protocols
from api.protocols.kserve.protocol import KServeProtocol
from api.protocols.native.protocol import NativeProtocol
from api.protocols.predictions.acceptance import Acceptance
from api.protocols.predictions.protocol import PredictionsProtocol
from settings import Settings
from tests.unit.api.conftest import ColourBackend

ORDER = {"input": {"prompt": "a pear", "seed": 7}}


@pytest.fixture
def settings() -> Settings:
    return Settings(max_body_bytes=1024 * 1024, store="none", webhook_receivers=("receiver.test",))


@pytest.fixture
def client(backend: ColourBackend, settings: Settings, tmp_path: Path) -> Iterator[TestClient]:
    """A client of all protocols; its address is ``anna``, unless it says otherwise."""

    def make() -> Predictions:
        database = Database.in_folder(tmp_path)
        return Predictions(
            backend, settings, database, FolderFiles(tmp_path / "pictures"), NoMeasures()
        )

    opening = Opening(make, at_start=False)
    pictures = Pictures(backend, settings)
    acceptance = Acceptance(opening, settings)
    protocols = Protocols(
        [
            NativeProtocol(pictures, settings, None, acceptance),
            PredictionsProtocol(pictures, acceptance, settings),
            KServeProtocol(pictures, settings, None, backend.ready),
        ]
    )
    app = create_app(protocols)
    app.user_middleware.extend(middleware(settings, Drain(), protocols))
    with TestClient(app, raise_server_exceptions=False, client=("10.0.0.1", 1)) as client:
        yield client
        client.portal.call(opening.close, 0)  # type: ignore[union-attr]


def other(client: TestClient) -> TestClient:
    """The same service from another address."""
    made = TestClient(client.app, raise_server_exceptions=False, client=("10.0.0.2", 1))
    made.portal = client.portal
    return made


def predict(client: TestClient, **changes: Any) -> Any:
    """A prediction that is over."""
    response = client.post("/predictions", json={**ORDER, **changes}, headers={"Prefer": "wait"})
    assert response.status_code == 201, response.text
    return response.json()
