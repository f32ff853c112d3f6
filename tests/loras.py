"""LoRAs for the embedded model, with random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from models.catalog import BUILT_IN


def save_lora(folder: Path, seed: int = 0, rank: int = 4) -> Path:
    """Write one into ``folder``, as training does, that changes pictures visibly.

    Both of a layer's matrices are random; training starts with one of them being zero.
    """
    torch.manual_seed(seed)
    unet = UNet2DConditionModel.from_pretrained(
        BUILT_IN.parent / "embedded" / "unet", local_files_only=True
    )
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    unet.add_adapter(LoraConfig(r=rank, target_modules=targets, init_lora_weights="gaussian"))
    for name, weight in unet.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(weight, std=0.1)
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers)
    return folder
