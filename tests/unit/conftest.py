"""Shared by the tests that need no server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """An empty BentoML home: for this process, which has settled on another, and its children."""
    home = tmp_path / "bentoml"
    models = home / "models"
    models.mkdir(parents=True)
    BentoMLContainer.model_store_dir.set(str(models))
    BentoMLContainer.model_store.set(ModelStore(models))
    try:
        yield home
    finally:
        BentoMLContainer.model_store_dir.reset()
        BentoMLContainer.model_store.reset()
