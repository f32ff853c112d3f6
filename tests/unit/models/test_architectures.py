"""The table of architectures agrees with diffusers and with the pipelines themselves."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from inspect import signature
from typing import Any

import diffusers
import pytest
from diffusers.loaders import (
    SD3LoraLoaderMixin,
    StableDiffusionLoraLoaderMixin,
    StableDiffusionXLLoraLoaderMixin,
)

from models.architectures import ARCHITECTURES, Architecture, Family
from models.catalog import load_catalog
from tests.unit.models import tiny

LOADERS = {
    "sd1": StableDiffusionLoraLoaderMixin,
    "sd2": StableDiffusionLoraLoaderMixin,
    "sdxl": StableDiffusionXLLoraLoaderMixin,
    "sd3": SD3LoraLoaderMixin,
}


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=lambda each: each.name)
def test_its_classes_are_in_diffusers_and_have_the_same_components(
    architecture: Architecture,
) -> None:
    txt2img, *others = (
        set(signature(getattr(diffusers, name).__init__).parameters)
        for name in architecture.pipelines
    )
    for other in others:
        # The refiner's, which has a score in the place of a part.
        assert txt2img <= other


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=lambda each: each.name)
def test_loras_change_the_components_that_diffusers_has_loaders_for(
    architecture: Architecture,
) -> None:
    assert architecture.lora_components == set(LOADERS[architecture.name]._lora_loadable_modules)


@pytest.mark.parametrize(
    ("family", "build"),
    [("sd1", tiny.stable_diffusion), ("sdxl", lambda: tiny.sdxl(refiner=False)), ("sd3", tiny.sd3)],
)
def test_a_pipeline_is_what_its_architecture_says(family: Family, build: Callable[[], Any]) -> None:
    pipeline, architecture = build(), ARCHITECTURES[family]
    if family == "sd3":
        denoiser = pipeline.transformer
        width = denoiser.config.joint_attention_dim
    else:
        denoiser = pipeline.unet
        width = denoiser.config.cross_attention_dim
    text_layers = [
        layer
        for name, layer in denoiser.named_modules()
        if re.search(f"(?:{architecture.text_layer})$", name)
    ]

    assert type(pipeline).__name__ == architecture.pipelines[0]
    assert pipeline.vae.config.latent_channels == architecture.latent_channels
    assert getattr(denoiser.config, "patch_size", 1) == architecture.patch
    assert ("FlowMatch" in type(pipeline.scheduler).__name__) == (architecture.prediction == "flow")
    assert text_layers
    assert {layer.in_features for layer in text_layers} == {width}


def test_only_a_model_without_txt2img_is_a_refiner() -> None:
    entries = {entry.name: entry for entry in load_catalog()}
    classes = {name: entry.architecture.pipeline(entry.tasks) for name, entry in entries.items()}
    assert classes["sdxl-base"] == "StableDiffusionXLPipeline"
    assert classes["sdxl-refiner"] == "StableDiffusionXLImg2ImgPipeline"
    assert classes["sd-1.5-inpainting"] == "StableDiffusionPipeline"


def test_sizes_divide_by_a_token() -> None:
    assert {name: each.multiple_of for name, each in ARCHITECTURES.items()} == {
        "sd1": 8,
        "sd2": 8,
        "sdxl": 8,
        "sd3": 16,
    }


def test_it_imports_nothing_heavy() -> None:
    code = "import sys, models.architectures; print({'torch', 'diffusers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
