from __future__ import annotations

import shutil
from pathlib import Path

from assembly.served_models import served_loras, served_model
from models.catalog import BUILT_IN, load_catalog
from models.finetuned import Provenance
from models.lora import LORA_FILE
from models.placement import Placement
from models.registry import register, remove, with_pipelines
from settings import Settings
from tests.loras import save_lora


def test_every_entry_of_the_catalog_can_be_presented() -> None:
    for entry in load_catalog():
        model = served_model(entry, Placement("cpu", "fp32"), Settings())

        assert (model.name, model.precision) == (entry.name, "fp32")
        assert model.defaults.scheduler in model.schedulers
        assert model.defaults.width % model.multiple_of == 0
        assert model.defaults.height % model.multiple_of == 0
        assert int(model.defaults.num_inference_steps * model.defaults.strength) >= 1
        assert model.tasks == entry.tasks


def test_loras_are_presented_while_they_are_there(store: Path, tmp_path: Path) -> None:
    catalog = load_catalog()
    folder = save_lora(tmp_path / "lora")
    provenance = Provenance(base="embedded", base_revision="1", licence="mine")
    assert served_loras(Placement("cpu", "fp32")) == ()

    model = register("clay", "lora", folder, provenance, catalog)
    (lora,) = served_loras(Placement("cpu", "fp32"))
    assert (lora.name, lora.tag, lora.base) == ("clay", model.tag, "embedded")
    assert lora.size == model.size
    assert 0 < lora.memory < lora.size
    (half,) = served_loras(Placement("cuda", "fp16"))
    assert half.memory * 2 == lora.memory

    other = register("wool", "lora", save_lora(tmp_path / "2", seed=1), provenance, catalog)
    (other.path / LORA_FILE).write_bytes(b"damaged")
    assert served_loras(Placement("cpu", "fp32")) == (lora,)
    remove("clay")
    assert served_loras(Placement("cpu", "fp32")) == ()


def test_a_fine_tuned_pipeline_says_where_it_comes_from(store: Path, tmp_path: Path) -> None:
    catalog = load_catalog()
    folder = tmp_path / "pipeline"
    shutil.copytree(BUILT_IN.parent / "embedded", folder)
    provenance = Provenance(
        base="embedded", base_revision="1", licence="mine", subject_token="unqtkn"
    )
    model = register("tuned", "full", folder, provenance, catalog)
    entry = with_pipelines(catalog).get("tuned")
    served = served_model(entry, Placement("cpu", "fp32"), Settings())

    assert (served.name, served.size) == ("tuned", model.size)
    assert served.provenance == model.provenance


def test_a_models_own_screening_goes_before_the_settings() -> None:
    entry = load_catalog().get("embedded").model_copy(update={"screening": {"nsfw": "reject"}})
    settings = Settings(screen_nsfw="flag", screen_blank="blur")

    assert served_model(entry, Placement("cpu", "fp32"), settings).screening == {
        "grayscale": "off",
        "blank": "blur",
        "nsfw": "reject",
    }
