"""The multimodal diffusion transformer (MMDiT) as a denoiser."""

from __future__ import annotations

from typing import Any

import torch

from engine.denoising.conditioning import Conditioning
from engine.pipelines.joint_attention import RepeatedLastToken
from engine.pipelines.packed_mmdit import PackedMMDiT
from engine.pipelines.parts import Denoiser, Predict
from engine.pipelines.skipped_layers import Skipped, SkippedLayers
from engine.pipelines.unet import Compiler, eager


def mmdit_denoiser(
    transformer: Any,
    compiler: Compiler = eager,
    *,
    last_token: int = 1,
    mixed_sizes: bool = False,
) -> Denoiser:
    """Make a denoiser of a ``diffusers.SD3Transformer2DModel``.

    Args:
        compiler: makes of the transformer what is called in its place, and takes ``skipped``.
        last_token: how many equal text tokens the last one stands for.
        mixed_sizes: let pictures of different sizes share a pass, which is not compiled then.
    """
    if last_token > 1:
        transformer.set_attn_processor(RepeatedLastToken(last_token))
    compiled = compiler(transformer)
    config = transformer.config
    return Denoiser(
        module=compiled,
        component="transformer",
        predict=_eager(transformer) if compiled is transformer else _compiled(compiled),
        layers=len(transformer.transformer_blocks),
        longest_side=config.pos_embed_max_size * config.patch_size,
        packed=PackedMMDiT(transformer, last_token=last_token) if mixed_sizes else None,
    )


def _eager(transformer: Any) -> Predict:
    layers = SkippedLayers(transformer.transformer_blocks)

    def predict(
        latents: torch.Tensor,
        times: torch.Tensor,
        conditioning: Conditioning,
        skipped: Skipped,
    ) -> torch.Tensor:
        with layers.applied(skipped):
            prediction: torch.Tensor = transformer(
                hidden_states=latents, timestep=times, **conditioning.tensors, return_dict=False
            )[0]
        return prediction

    return predict


def _compiled(graph: Any) -> Predict:
    def predict(
        latents: torch.Tensor,
        times: torch.Tensor,
        conditioning: Conditioning,
        skipped: Skipped,
    ) -> torch.Tensor:
        prediction: torch.Tensor = graph(
            hidden_states=latents,
            timestep=times,
            **conditioning.tensors,
            skipped=skipped,
            return_dict=False,
        )[0]
        return prediction

    return predict
