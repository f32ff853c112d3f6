"""The catalog entries that ship with the code."""

from __future__ import annotations

import pytest

from models.catalog import load_catalog
from models.sources import EmbeddedSource, HuggingFaceSource


def test_the_built_in_entries() -> None:
    catalog = load_catalog()
    assert catalog.names == (
        "embedded",
        "embedded-xl",
        "embedded-xl-refiner",
        "embedded-3",
        "sd-1.4",
        "sd-1.5",
        "sd-1.5-inpainting",
        "sd-2.1",
        "sd-2-inpainting",
        "sdxl-base",
        "sdxl-refiner",
        "sdxl-inpainting",
        "sdxl-turbo",
        "sd3-medium",
        "sd-3.5-medium",
        "sd-3.5-large",
        "sd-3.5-large-turbo",
    )
    assert len(catalog) == len(list(catalog))
    assert "sd-1.5" in catalog
    assert {entry.name for entry in catalog if entry.gated} == {
        entry.name
        for entry in catalog
        if entry.family == "sd3" and not isinstance(entry.source, EmbeddedSource)
    }
    for entry in catalog:
        assert entry.defaults.scheduler in entry.architecture.schedulers
        if isinstance(entry.source, HuggingFaceSource):
            assert len(entry.source.revision) == 40
            assert entry.licence_url is not None
        if entry.name.endswith("-inpainting"):
            assert entry.tasks == ("inpaint",)
        if isinstance(entry.source, EmbeddedSource):
            assert entry.name.startswith("embedded")
            assert (entry.source.path / "model_index.json").is_file()


@pytest.mark.parametrize("name", ["sdxl-turbo", "sd-3.5-large-turbo"])
def test_a_distilled_model_draws_without_guidance_and_from_a_picture(name: str) -> None:
    defaults = load_catalog().get(name).defaults
    assert defaults.guidance_scale <= 1
    assert 1 <= defaults.num_inference_steps <= 4
    assert int(defaults.num_inference_steps * defaults.strength) >= 1


def test_the_base_of_sdxl_has_its_refiner() -> None:
    entries = {entry.name: entry for entry in load_catalog()}
    bases = {"embedded-xl": "embedded-xl-refiner", "sdxl-base": "sdxl-refiner"}
    assert {name: entries[name].refiner for name in bases} == bases
    assert [name for name, entry in entries.items() if entry.is_refiner] == list(bases.values())
