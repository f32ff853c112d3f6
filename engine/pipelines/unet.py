"""UNets as denoisers: laid out for speed, compiled, and called by the names of their inputs."""

from __future__ import annotations

from typing import Any, Final

import torch

from engine.denoising.conditioning import Conditioning
from engine.pipelines.parts import Compiler, Denoiser, eager
from engine.pipelines.skipped_layers import Skipped

# What ``UNet2DConditionModel`` takes in a mapping of its own.
_ADDED: Final = frozenset({"text_embeds", "time_ids"})


def unet_denoiser(unet: Any, compiler: Compiler = eager) -> Denoiser:
    """Make a denoiser of a ``diffusers.UNet2DConditionModel``.

    Args:
        unet: is laid out in channels_last.
        compiler: makes of the UNet what is called in its place, with weights of the same size. The
            UNet itself is kept only if that refers to it.

    Raises:
        ValueError: the UNet takes a guidance scale, which none does here.
    """
    if unet.config.time_cond_proj_dim is not None:
        raise ValueError("guidance-distilled UNets (time_cond_proj_dim) are not supported")
    compiled = compiler(unet.to(memory_format=torch.channels_last))

    def predict(
        latents: torch.Tensor, times: torch.Tensor, conditioning: Conditioning, skipped: Skipped
    ) -> torch.Tensor:
        inputs: dict[str, Any] = {"sample": latents, "timestep": times, **conditioning.tensors}
        added = {name: inputs.pop(name) for name in _ADDED & inputs.keys()}
        if added:
            inputs["added_cond_kwargs"] = added
        prediction: torch.Tensor = compiled(**inputs, return_dict=False)[0]
        return prediction

    return Denoiser(module=compiled, component="unet", predict=predict)
