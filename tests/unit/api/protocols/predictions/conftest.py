"""The protocols over a backend without an engine, with a store of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.pictures import Pictures
from api.predictions.database import Database
from api.predictions.files import FolderFiles
from api.predictions.measures import NoMeasures
from api.predictions.predictions import Predictions
from api.protocols.base import Protocol
from api.protocols.kserve.protocol import KServeProtocol
from api.protocols.native.protocol import NativeProtocol
from api.protocols.predictions.acceptance import Acceptance
from api.protocols.predictions.protocol import PredictionsProtocol
from settings import Settings
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.protocols.keeping_site import keeping_site

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

    def served(pictures: Pictures, acceptance: Acceptance) -> list[Protocol]:
        return [
            NativeProtocol(pictures, settings, None, acceptance),
            PredictionsProtocol(pictures, acceptance, settings),
            KServeProtocol(pictures, settings, None, backend.ready),
        ]

    with keeping_site(make, backend, settings, served) as client:
        yield client


def predict(client: TestClient, **changes: Any) -> Any:
    """A prediction that is over."""
    response = client.post("/predictions", json={**ORDER, **changes}, headers={"Prefer": "wait"})
    assert response.status_code == 201, response.text
    return response.json()
