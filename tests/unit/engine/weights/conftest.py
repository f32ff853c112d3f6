"""LoRAs that the tests can hold back, and watch being loaded."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from contract.observer import WeightKind
from engine.lora.adapter import Adapter
from engine.pipelines.stable_diffusion import StableDiffusion
from engine.weights.cache import WeightCache
from engine.weights.source import Source
from tests.unit.engine.conftest import Recorder
from tests.unit.engine.lora.lora_files import write_diffusers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pipeline: Any) -> Path:
    return write_diffusers(tmp_path_factory.mktemp("lora"), pipeline)


class Loras:
    """LoRAs ``a:1`` to ``d:1``, of four bytes each for the budget; the last one is broken."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.loads: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.sources = {f"{name}:1": Source(self._loader(name), 4) for name in "abcd"}

    def _loader(self, name: str) -> Any:
        def load(model: StableDiffusion) -> Adapter:
            self.loads.append(name)
            assert self.go_on.wait(60)
            if name == "d":
                raise OSError("secret path /weights")
            return model.load_adapter(self._folder)

        return load

    def cache(self, budget: int, recorder: Recorder) -> WeightCache[Adapter]:
        return WeightCache(self.sources, budget=budget, kind=WeightKind.LORA, observer=recorder)


@pytest.fixture
def loras(folder: Path) -> Loras:
    return Loras(folder)
