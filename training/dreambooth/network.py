"""The networks that are trained: the denoiser, perhaps text encoders, as a LoRA or in full."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn

from training.dreambooth.families import TunedFamily
from training.dreambooth.options import Options
from training.dreambooth.text import Text


class Denoiser(nn.Module):
    """A denoiser, behind the text encoders that are trained too: one module to distribute."""

    def __init__(self, family: TunedFamily, network: nn.Module, text: Text) -> None:
        super().__init__()
        self.family = family
        self.network = network
        self.text = text

    def forward(self, noisy: Tensor, timesteps: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        """The prediction, shaped like ``noisy`` [B, C, height, width].

        Args:
            timesteps: [B].
            told: the pieces of the prompts, and what the denoiser is told beside, [B, ...] each.
        """
        conditioning = self.text(told)
        beside = {name: values for name, values in told.items() if name in self.family.beside}
        return self.family.call(self.network, noisy, timesteps, {**conditioning, **beside})

    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, by their names."""
        return {name: one for name, one in self.named_parameters() if one.requires_grad}

    def components(self) -> dict[str, Any]:
        """What is trained, by the names of the pipeline's components."""
        return {self.family.denoiser: self.network, **self.text.encoders}


def prepare(
    family: TunedFamily,
    network: Any,
    encoders: Mapping[str, Any],
    channels: int,
    options: Options,
) -> Denoiser:
    """Make what is trained out of frozen components: with LoRA layers, or unfrozen.

    New layers are in fp32, whatever the base is in, and initialised by torch's global generator.

    Args:
        network: the denoiser.
        encoders: the text encoders that are trained too, by their names in the pipeline.
        channels: of the text that the denoiser takes.
    """
    denoiser = Denoiser(family, network, Text(family, channels, encoders))
    if options.full:
        denoiser.requires_grad_(True)
    else:
        for name, module in denoiser.components().items():
            module.add_adapter(_lora(family, name, options))
        for parameter in denoiser.trained().values():
            parameter.data = parameter.data.float()
    if options.gradient_checkpointing:
        network.enable_gradient_checkpointing()
        for encoder in encoders.values():
            encoder.gradient_checkpointing_enable()
    return denoiser


def save_lora(pipeline: type[DiffusionPipeline], denoiser: Denoiser, folder: Path) -> None:
    """Write a LoRA file as the pipeline's class has it, with peft's names of the matrices:
    diffusers 0.42 has older ones too, but not of all layers."""
    layers = {
        f"{name}_lora_layers": get_peft_model_state_dict(module)
        for name, module in denoiser.components().items()
    }
    # Without peft's settings, which diffusers finds out from the matrices, as alpha is the rank:
    # with a second entry in its header, safetensors writes the same file in one of two ways.
    pipeline.save_lora_weights(folder, **layers)


def _lora(family: TunedFamily, component: str, options: Options) -> LoraConfig:
    layers = family.layers(component)
    return LoraConfig(
        r=options.rank,
        lora_alpha=options.rank,
        init_lora_weights="gaussian",
        target_modules=[name for target in options.targets for name in layers[target]],
    )
