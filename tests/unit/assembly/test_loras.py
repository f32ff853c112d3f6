"""The LoRAs of the model store, for the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from assembly.loras import StoredLoras
from engine.pipelines.load import load_model
from models import registry
from models.catalog import load_catalog
from models.finetuned import Provenance
from models.placement import Placement
from tests.loras import save_lora


def test_they_are_what_is_registered_at_that_moment(store: Path, tmp_path: Path) -> None:
    catalog = load_catalog()
    loras = StoredLoras("fp32")
    assert list(loras) == []
    provenance = Provenance(base="embedded", base_revision="1", licence="mine")
    folder = save_lora(tmp_path / "lora")
    tag = registry.register("clay", "lora", folder, provenance, catalog).tag
    assert list(loras) == [tag]
    assert tag in loras
    assert "clay:other" not in loras

    adapter = loras[tag].load(load_model(catalog.get("embedded"), Placement("cpu", "fp32")))
    assert loras[tag].memory == adapter.memory == 2 * StoredLoras("bf16")[tag].memory

    registry.remove("clay")
    assert tag not in loras
    with pytest.raises(KeyError, match=tag):
        loras[tag]
