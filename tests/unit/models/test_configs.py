"""The configs of models that are not downloaded."""

from __future__ import annotations

import json
from typing import Any

import diffusers
import pytest
import torch
import transformers

from models.catalog import BUILT_IN, load_catalog

CONFIGS = BUILT_IN.parent / "configs"
NAMES = sorted(folder.name for folder in CONFIGS.iterdir() if folder.is_dir())
# As published, 1e6.
MILLIONS = {
    "sd-1.5": {"text_encoder": 123.1, "unet": 859.5, "vae": 83.7},
    "sd-2.1": {"text_encoder": 340.4, "unet": 865.9, "vae": 83.7},
    "sdxl-base": {"text_encoder": 123.1, "text_encoder_2": 694.7, "unet": 2567.5, "vae": 83.7},
    "sdxl-refiner": {"text_encoder_2": 694.7, "unet": 2259.5, "vae": 83.7},
    **{
        name: {
            "text_encoder": 123.7,
            "text_encoder_2": 694.7,
            "text_encoder_3": 4762.3,
            "transformer": transformer,
            "vae": 83.8,
        }
        for name, transformer in (
            ("sd3-medium", 2028.3),
            ("sd-3.5-medium", 2243.2),
            ("sd-3.5-large", 8056.6),
        )
    },
}


def on_meta(name: str, component: str, library: str, class_name: str) -> torch.nn.Module:
    """The component with its shapes, and no memory for its weights."""
    folder = CONFIGS / name / component
    kind: Any = getattr({"diffusers": diffusers, "transformers": transformers}[library], class_name)
    with torch.device("meta"):
        if library == "diffusers":
            module = kind.from_config(kind.load_config(folder))
        else:
            module = kind(kind.config_class.from_pretrained(folder))
    assert isinstance(module, torch.nn.Module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_a_model_has_its_published_number_of_parameters(name: str) -> None:
    index = json.loads((CONFIGS / name / "model_index.json").read_text())
    found = {
        component: on_meta(name, component, *source)
        for component, source in index.items()
        if isinstance(source, list) and (CONFIGS / name / component / "config.json").is_file()
    }
    millions = {
        component: round(sum(each.numel() for each in module.parameters()) / 1e6, 1)
        for component, module in found.items()
    }
    assert millions == MILLIONS[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_in_the_catalog_and_of_the_class_of_its_family(name: str) -> None:
    entry = load_catalog().get(name)
    index = json.loads((CONFIGS / name / "model_index.json").read_text())
    assert index["_class_name"] == entry.architecture.pipeline(entry.tasks)
