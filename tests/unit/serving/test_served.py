from __future__ import annotations

from engine.precision import Placement
from models.catalog import load_catalog
from serving.served import served_model


def test_every_entry_of_the_catalog_can_be_presented() -> None:
    for entry in load_catalog():
        model = served_model(entry, Placement("cpu", "fp32"))

        assert (model.name, model.precision) == (entry.name, "fp32")
        assert model.defaults.width % model.multiple_of == 0
        assert model.defaults.height % model.multiple_of == 0
        assert int(model.defaults.num_inference_steps * model.defaults.strength) >= 1
        assert model.tasks == entry.tasks
