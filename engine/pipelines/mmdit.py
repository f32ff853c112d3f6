"""The multimodal diffusion transformer (MMDiT) as a denoiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from engine.denoising.conditioning import Conditioning
from engine.pipelines.joint_attention import RepeatedLastToken
from engine.pipelines.packed_mmdit import PackedMMDiT
from engine.pipelines.parts import Compiler, Denoiser, eager
from engine.pipelines.skipped_layers import Skipped, SkippedLayers


def mmdit_denoiser(
    transformer: Any,
    compiler: Compiler = eager,
    *,
    last_token: int = 1,
    mixed_sizes: bool = False,
) -> Denoiser:
    """Make a denoiser of a ``diffusers.SD3Transformer2DModel``.

    Args:
        compiler: makes of the transformer what is called in its place; that takes ``skipped`` too,
            unless it is the transformer itself.
        last_token: how many equal text tokens the last one stands for.
        mixed_sizes: let pictures of different sizes share a pass, which is not compiled then.
    """
    if last_token > 1:
        transformer.set_attn_processor(RepeatedLastToken(last_token))
    compiled = compiler(transformer)
    config = transformer.config
    call = _skipping(transformer) if compiled is transformer else compiled

    def predict(
        latents: torch.Tensor, times: torch.Tensor, conditioning: Conditioning, skipped: Skipped
    ) -> torch.Tensor:
        prediction: torch.Tensor = call(
            hidden_states=latents,
            timestep=times,
            **conditioning.tensors,
            skipped=skipped,
            return_dict=False,
        )[0]
        return prediction

    return Denoiser(
        module=compiled,
        component="transformer",
        predict=predict,
        layers=len(transformer.transformer_blocks),
        longest_side=config.pos_embed_max_size * config.patch_size,
        packed=PackedMMDiT(transformer, last_token=last_token) if mixed_sizes else None,
    )


def _skipping(transformer: Any) -> Callable[..., tuple[torch.Tensor]]:
    """The transformer, which takes ``skipped`` as well."""
    layers = SkippedLayers(transformer.transformer_blocks)

    def call(*, skipped: Skipped, **inputs: Any) -> tuple[torch.Tensor]:
        with layers.applied(skipped):
            prediction: tuple[torch.Tensor] = transformer(**inputs)
        return prediction

    return call
