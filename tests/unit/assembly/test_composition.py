"""What a host finds to serve, also where its models run elsewhere."""

from __future__ import annotations

import pytest

from assembly.composition import compose
from models.errors import ModelError
from models.placement import Placement
from settings import Settings

APART = Settings(models=("embedded", "sd-1.5"))


@pytest.fixture(autouse=True)
def _empty_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path_factory.mktemp("bentoml")))


def test_models_that_run_elsewhere_need_not_be_here() -> None:
    placements = {"embedded": Placement("cpu", "fp32"), "sd-1.5": Placement("cuda", "fp16")}

    composition = compose(APART, placements)

    assert [model.precision for model in composition.models] == ["fp32", "fp16"]
    assert composition.placement == Placement("cpu", "fp32")


def test_models_that_run_here_are_looked_for() -> None:
    with pytest.raises(ModelError, match=r"sd-1\.5"):
        compose(APART.model_copy(update={"device": "cpu"}))
