"""The shape of a pass, and inputs that have it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch


class PassShape(NamedTuple):
    """The shape of a pass: rows, height and width of the latents, and tokens of the text."""

    rows: int
    height: int
    width: int
    tokens: int

    def inputs(self, denoiser: Any) -> dict[str, Any]:
        """Zeros, laid out as in a real pass, by the names of the arguments.

        Args:
            denoiser: a ``diffusers.UNet2DConditionModel`` or ``SD3Transformer2DModel``, or what has
                its ``config``, ``dtype`` and ``device``.
        """
        config = denoiser.config
        like = {"dtype": denoiser.dtype, "device": denoiser.device}
        latents = torch.zeros((self.rows, config.in_channels, self.height, self.width), **like)
        latents = latents.contiguous(memory_format=torch.channels_last)
        times = torch.zeros(self.rows, dtype=torch.float32, device=denoiser.device)

        def text(channels: int) -> torch.Tensor:
            return torch.zeros((self.rows, self.tokens, channels), **like)

        def vector(channels: int) -> torch.Tensor:
            return torch.zeros((self.rows, channels), **like)

        if "joint_attention_dim" in config:
            return {
                "hidden_states": latents,
                "timestep": times,
                "encoder_hidden_states": text(config.joint_attention_dim),
                "pooled_projections": vector(config.pooled_projection_dim),
            }
        inputs = {
            "sample": latents,
            "timestep": times,
            "encoder_hidden_states": text(config.cross_attention_dim),
        }
        if config.addition_embed_type != "text_time":
            return inputs
        # What comes behind sees one vector of both, however it is divided.
        pooled = config.projection_class_embeddings_input_dim - config.addition_time_embed_dim
        added = {"text_embeds": vector(pooled), "time_ids": vector(1)}
        return {**inputs, "added_cond_kwargs": added}
