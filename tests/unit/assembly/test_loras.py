"""The LoRAs of the model store, for the engine."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from assembly.loras import StoredLoras
from engine.pipelines.load import load_model
from models import registry
from models.catalog import load_catalog
from models.finetuned import Provenance
from models.placement import Placement
from tests.loras import save_lora

PROVENANCE = Provenance(base="embedded", base_revision="1", licence="mine")


def test_they_are_what_is_registered_at_the_last_look(store: Path, tmp_path: Path) -> None:
    catalog = load_catalog()
    loras = StoredLoras("fp32")
    assert list(loras) == []
    folder = save_lora(tmp_path / "lora")
    tag = registry.register("clay", "lora", folder, PROVENANCE, catalog).tag
    assert tag not in loras
    asyncio.run(loras.refresh())
    assert list(loras) == [tag]
    assert "clay:other" not in loras

    adapter = loras[tag].load(load_model(catalog.get("embedded"), Placement("cpu", "fp32")))
    assert loras[tag].memory == adapter.memory == 2 * StoredLoras("bf16")[tag].memory

    registry.remove("clay")
    asyncio.run(loras.refresh())
    assert tag not in loras
    with pytest.raises(KeyError, match=tag):
        loras[tag]


def test_an_older_version_is_there_for_those_that_wait_for_it(store: Path, tmp_path: Path) -> None:
    tags = [
        registry.register(
            "clay", "lora", save_lora(tmp_path / str(seed), seed=seed), PROVENANCE, load_catalog()
        ).tag
        for seed in (1, 2)
    ]
    assert set(StoredLoras("fp32")) == set(tags)


def test_looking_one_up_touches_no_disk(store: Path, tmp_path: Path) -> None:
    folder = save_lora(tmp_path / "lora")
    tag = registry.register("clay", "lora", folder, PROVENANCE, load_catalog()).tag
    loras = StoredLoras("fp32")
    shutil.rmtree(store)
    assert tag in loras
    assert loras[tag].memory > 0
