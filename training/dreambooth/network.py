"""The networks that are trained: the UNet, perhaps the text encoder, as a LoRA or in full."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn
from transformers import CLIPTextModel

from training.dreambooth.options import Options, Target

_UNET: Final[dict[Target, tuple[str, ...]]] = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "feed-forward": ("ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"),
    "convolution": ("conv1", "conv2", "conv_shortcut", "time_emb_proj"),
}
_TEXT_ENCODER: Final[dict[Target, tuple[str, ...]]] = {
    "attention": ("q_proj", "k_proj", "v_proj", "out_proj"),
    "feed-forward": ("fc1", "fc2"),
    "convolution": (),
}


class Denoiser(nn.Module):
    """The UNet, behind the text encoder if that is trained too: one module to distribute."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel | None) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(self, noisy: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """The UNet's prediction, shaped like ``noisy`` [B, 4, height, width].

        Args:
            timesteps: [B].
            condition: token ids [B, 77] with a text encoder, else embeddings [B, 77, width].
        """
        if self.text_encoder is not None:
            condition = self.text_encoder(condition).last_hidden_state
        prediction: Tensor = self.unet(noisy, timesteps, condition).sample
        return prediction

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, by their names."""
        return {name: one for name, one in self.named_parameters() if one.requires_grad}


def prepare(pipeline: StableDiffusionPipeline, options: Options) -> Denoiser:
    """The part of a frozen pipeline that is trained: with LoRA layers, or unfrozen.

    New layers are in fp32, whatever the base is in, and initialised by torch's global generator.
    """
    text_encoder = pipeline.text_encoder if options.train_text_encoder else None
    denoiser = Denoiser(pipeline.unet, text_encoder)
    if options.full:
        denoiser.requires_grad_(True)
    else:
        pipeline.unet.add_adapter(_lora(_UNET, options))
        if text_encoder is not None:
            text_encoder.add_adapter(_lora(_TEXT_ENCODER, options))
        for parameter in denoiser.trained().values():
            parameter.data = parameter.data.float()
    if options.gradient_checkpointing:
        pipeline.unet.enable_gradient_checkpointing()
        if text_encoder is not None:
            text_encoder.gradient_checkpointing_enable()
    return denoiser


def save(pipeline: StableDiffusionPipeline, options: Options, folder: Path) -> None:
    """Write a LoRA file in diffusers' convention, or the whole pipeline in fp32."""
    if options.full:
        pipeline.to(dtype=torch.float32).save_pretrained(folder)
        return
    trained = {"unet": pipeline.unet}
    if options.train_text_encoder:
        trained["text_encoder"] = pipeline.text_encoder
    # Without peft's settings, which diffusers finds out from the matrices, as alpha is the rank:
    # with a second entry in its header, safetensors writes the same file in one of two ways.
    StableDiffusionPipeline.save_lora_weights(
        folder,
        **{
            f"{name}_lora_layers": convert_state_dict_to_diffusers(
                get_peft_model_state_dict(module)
            )
            for name, module in trained.items()
        },
    )


def _lora(layers: dict[Target, tuple[str, ...]], options: Options) -> LoraConfig:
    return LoraConfig(
        r=options.rank,
        lora_alpha=options.rank,
        init_lora_weights="gaussian",
        target_modules=[name for target in options.targets for name in layers[target]],
    )
