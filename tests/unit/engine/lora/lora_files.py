"""LoRAs with random weights, in the formats that there are."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from models.lora import LORA_FILE
from tests.unit.models.single_file import unet_key

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
CONVOLUTIONS = ("conv_in", "conv1", "conv_shortcut", "proj_in", "downsamplers.0.conv", "conv_out")
FURTHER = ("time_emb_proj", "ff.net.0.proj", "ff.net.2", "time_embedding.linear_1")
TEXT = ("q_proj", "out_proj", "fc1")


def write_diffusers(
    folder: Path,
    pipeline: Any,
    *,
    seed: int = 0,
    unet: Sequence[str] = ATTENTION,
    transformer: Sequence[str] = (),
    text: Sequence[str] = (),
    described: bool = True,
    **config: Any,
) -> Path:
    """As training writes it, into ``folder``; with peft's description of it, or without."""
    modules = {}
    targeted = {
        "unet": unet,
        "transformer": transformer,
        **dict.fromkeys(_text_encoders(pipeline), text),
    }
    for name, targets in targeted.items():
        if targets:
            module = modules[name] = _like(getattr(pipeline, name))
            torch.manual_seed(seed)
            settings = {"r": 4, "lora_alpha": 6, "init_lora_weights": "gaussian", **config}
            module.add_adapter(LoraConfig(target_modules=list(targets), **settings))
            for key, weight in module.named_parameters():
                if ".lora_B." in key:
                    torch.nn.init.normal_(weight, std=0.05)
    type(pipeline).save_lora_weights(
        folder,
        **{
            f"{name}_lora_layers": get_peft_model_state_dict(module)
            for name, module in modules.items()
        },
        **(_collate_lora_metadata(modules) if described else {}),
    )
    return folder


def _text_encoders(pipeline: Any) -> list[str]:
    names = ("text_encoder", "text_encoder_2")
    return [name for name in names if getattr(pipeline, name, None) is not None]


def _like(module: Any) -> Any:
    """A module of the same structure. Not a copy: the engine may have its hooks in it."""
    if hasattr(module, "from_config"):
        return type(module).from_config(module.config)
    return type(module)(deepcopy(module.config))


def write_kohya(
    folder: Path,
    pipeline: Any,
    *,
    seed: int = 0,
    unet: Sequence[str] = ATTENTION,
    text: Sequence[str] = (),
    alphas: Sequence[float] = (2.0,),
    ranks: Sequence[int] = (4,),
) -> dict[str, tuple[torch.Tensor, float]]:
    """As kohya's trainer writes it, with ranks and alphas that take turns.

    Returns:
        For every layer, by its component and path, what is to be added to its weights, and its
        scaling.
    """
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = {}
    added = {}
    encoders = _text_encoders(pipeline)
    # SDXL's UNet keeps its original names there, and its text encoders are counted.
    original = len(encoders) > 1
    layers = [
        (f"lora_unet_{_original(path) if original else path}", f"unet.{path}", layer)
        for path, layer in pipeline.unet.named_modules()
        if path.endswith(tuple(unet))
    ] + [
        (
            f"lora_te{number if original else ''}_text_model_{path.removeprefix('text_model.')}",
            f"{encoder}.{path}",
            layer,
        )
        for number, encoder in enumerate(encoders, 1)
        for path, layer in getattr(pipeline, encoder).named_modules()
        if text and path.endswith(tuple(text))
    ]
    for number, (name, path, layer) in enumerate(layers):
        rank, alpha = ranks[number % len(ranks)], alphas[number % len(alphas)]
        shape = layer.weight.shape
        ones = (1,) * (len(shape) - 2)
        down = 0.1 * torch.randn((rank, *shape[1:]), generator=generator)
        up = 0.1 * torch.randn((shape[0], rank, *ones), generator=generator)
        name = name.replace(".", "_")
        state |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        state[f"{name}.alpha"] = torch.tensor(float(alpha))
        added[path] = ((up.flatten(1) @ down.flatten(1)).view(shape), alpha / rank)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / LORA_FILE)
    return added


def _original(path: str) -> str:
    """A layer of the tiny UNets by its name in the code of Stable Diffusion's authors."""
    return unet_key(f"{path}.weight").removesuffix(".weight")
