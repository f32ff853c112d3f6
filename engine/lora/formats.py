"""The formats of LoRA files, as diffusers reads them: its own, peft's and kohya's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline

from engine.lora.kohya_sd3 import PREFIX, from_kohya
from models.errors import LoadError
from models.weights import read_header


class LoraFile(NamedTuple):
    """What is in a file.

    Attributes:
        state: the matrices, by keys that begin with the component's name in the pipeline.
        alphas: likewise, for the layers that have one.
        metadata: the description in the file; empty where there is none.
    """

    state: dict[str, torch.Tensor]
    alphas: Mapping[str, float]
    metadata: Mapping[str, Any]


def read_file(file: Path, modules: Mapping[str, Any]) -> LoraFile:
    """Read a LoRA file for a pipeline with these components.

    Raises:
        LoadError: only a part of it can be read.
    """
    options = {
        "weight_name": file.name,
        "use_safetensors": True,
        "local_files_only": True,
        "return_lora_metadata": True,
    }
    if "transformer" not in modules:
        # kohya's trainer counts the blocks of a UNet of SDXL in another way.
        state, alphas, metadata = StableDiffusionPipeline.lora_state_dict(
            str(file.parent), unet_config=modules["unet"].config, **options
        )
        _check_whole(state, read_header(file))
        return LoraFile(state, alphas or {}, metadata or {})
    state, metadata = StableDiffusion3Pipeline.lora_state_dict(str(file.parent), **options)
    if not all(key.startswith("lora_") for key in state):
        return LoraFile(state, {}, metadata or {})
    text = {key: tensor for key, tensor in state.items() if not key.startswith(PREFIX)}
    converted, alphas = StableDiffusionPipeline.lora_state_dict(dict(text)) if text else ({}, {})
    _check_whole(converted, text)
    own = from_kohya(
        {key: tensor for key, tensor in state.items() if key not in text},
        modules["transformer"].config.num_layers,
    )
    return LoraFile(
        {**{f"transformer.{key}": tensor for key, tensor in own.state.items()}, **converted},
        {**{f"transformer.{key}": alpha for key, alpha in own.alphas.items()}, **(alphas or {})},
        {},
    )


def _check_whole(state: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise unless all matrices of a file were read."""
    matrices = sum(key != "__metadata__" and not key.endswith(".alpha") for key in given)
    if len(state) != matrices:
        raise LoadError(f"only {len(state)} of its {matrices} matrices can be read.")
